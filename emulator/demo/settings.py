"""What the demo runs with. One frozen value a run; the report repeats what matters of it."""

from dataclasses import dataclass

from aggregation_service.rounds.optimizer import ServerMomentum, ServerOptimizer
from aggregation_service.rounds.parameters import RoundParameters
from emulator.trace import HOUR_S
from model.network import FULL, SMALL, NetworkShape
from protocol.plan import Plan, PrivacyParameters, SecureAggregationParameters, TrainingParameters

POPULATION = "english"


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """All choices of a run.

    Attributes:
      name: of the run, in its report.
      shape: of the network; the vocabulary has its size.
      max_devices: senders beyond this number are left out, so that a quick run stays quick.
      max_messages: cap a sender.
      donor_share: share of senders whose text is treated as public.
      held_out_share: share of senders that never train.
      public_weight: share of the public word counts in the vocabulary's.
      pretraining_epochs: passes over the donors' text.
      rounds: to close.
      parameters: of each round, beside the plan.
      plan_training: of each device.
      plan_privacy: of each round.
      plan_secure_aggregation: of each round; None if the service is to see each update.
      optimizer: the server's.
      averaged_checkpoints: how many of the newest make the model that is released.
      vanish_rate: share of selected devices that vanish; production saw 0.06 to 0.10 (arXiv 1902.01046, section 9).
      test_messages_per_held_out: newest messages of each held-out sender that are scored.
      test_messages_per_device: of each device's test fifth, the newest that are scored.
      curve_messages: messages of each held-out sender behind the curve of recall by round.
      delta: at which the demo's epsilon is told.
      scale_cohort: report goal of the production population that the report compares with.
      scale_population: devices of that population.
      scale_delta: at which its epsilon is told.

    """

    name: str
    shape: NetworkShape
    max_devices: int
    max_messages: int
    donor_share: float = 0.05
    held_out_share: float = 0.2
    public_weight: float = 0.5
    pretraining_epochs: int
    rounds: int
    parameters: RoundParameters
    plan_training: TrainingParameters
    plan_privacy: PrivacyParameters
    plan_secure_aggregation: SecureAggregationParameters | None
    optimizer: ServerOptimizer = ServerMomentum(momentum=0.9, learning_rate=1.0)  # noqa: RUF009  # frozen
    averaged_checkpoints: int
    vanish_rate: float = 0.08
    test_messages_per_held_out: int
    test_messages_per_device: int
    curve_messages: int
    delta: float = 1e-6
    scale_cohort: int = 5_000
    scale_population: int = 10_000_000
    scale_delta: float = 1e-10

    @property
    def plan(self) -> Plan:
        """The plan of every round."""
        return Plan(
            tensors=self.shape.tensors,
            training=self.plan_training,
            privacy=self.plan_privacy,
            secure_aggregation=self.plan_secure_aggregation,
        )


def full_demo(*, rounds: int, noise_multiplier: float, secure_aggregation: bool = True) -> DemoSettings:
    """The main job: Gboard's network, all senders."""
    return DemoSettings(
        name="demo",
        shape=FULL,
        max_devices=10_000,
        max_messages=200,
        pretraining_epochs=2,
        rounds=rounds,
        parameters=_round_parameters(minimum_reports=15),
        plan_training=TrainingParameters(
            batch_size=4, sequence_length=16, local_epochs=1, learning_rate=0.5, max_words=3_000
        ),
        plan_privacy=PrivacyParameters(
            l2_clip_norm=2.0, noise_multiplier=noise_multiplier, report_goal=20, minimum_separation_s=1 * HOUR_S
        ),
        plan_secure_aggregation=_secure_aggregation(max_members=32) if secure_aggregation else None,
        averaged_checkpoints=8,
        test_messages_per_held_out=30,
        test_messages_per_device=8,
        curve_messages=5,
    )


def quick_demo(*, rounds: int, noise_multiplier: float, secure_aggregation: bool = True) -> DemoSettings:
    """The same loop with a tiny network and little text: for the tests, and for a first look."""
    return DemoSettings(
        name="demo (quick)",
        shape=SMALL,
        max_devices=100,
        max_messages=40,
        pretraining_epochs=2,
        rounds=rounds,
        parameters=_round_parameters(minimum_reports=8),
        plan_training=TrainingParameters(
            batch_size=5, sequence_length=12, local_epochs=1, learning_rate=1.0, max_words=1_000
        ),
        plan_privacy=PrivacyParameters(
            l2_clip_norm=1.0, noise_multiplier=noise_multiplier, report_goal=10, minimum_separation_s=1 * HOUR_S
        ),
        plan_secure_aggregation=_secure_aggregation(max_members=16) if secure_aggregation else None,
        averaged_checkpoints=4,
        test_messages_per_held_out=10,
        test_messages_per_device=4,
        curve_messages=4,
    )


def _round_parameters(*, minimum_reports: int) -> RoundParameters:
    """Devices ask seldom, and groups wait long: in virtual time a question costs more than a minute.

    Whoever answers a stage asks again after `poll_s`, when the others have answered, too; a stage that waits for one
    who vanished ends before most of them ask.
    """
    return RoundParameters(
        minimum_reports=minimum_reports, selection_timeout_s=900, gather_s=150, stage_timeout_s=90, poll_s=60
    )


def _secure_aggregation(*, max_members: int) -> SecureAggregationParameters:
    """Of the smallest group two may drop out: devices of the demo do vanish."""
    return SecureAggregationParameters(
        value_bits=12, min_members=8, max_members=max_members, dropout_fraction=0.2, mode="malicious"
    )
