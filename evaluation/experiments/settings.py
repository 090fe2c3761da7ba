"""What an experiment is about: its text, and how it trains. All of it is kept with what came out."""

from typing import Annotated, Literal

import msgspec

from aggregation_service.privacy.mechanisms.parameters import Independent, Mechanism
from aggregation_service.rounds.optimizer import ServerMomentum, ServerOptimizer
from model.network import FULL, SMALL, NetworkShape
from protocol.plan import Plan, PrivacyParameters, TrainingParameters

Positive = Annotated[int, msgspec.Meta(ge=1)]
Rate = Annotated[float, msgspec.Meta(gt=0, le=100)]
SIZES: dict[str, NetworkShape] = {"full": FULL, "small": SMALL}


class TextSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which text, and who reads it; shared by all experiments of a folder.

    Attributes:
      population: corpus of the people who train and of those who are held out, see `evaluation.corpus.load_corpus`.
      public: JSON lines of text that is nobody's secret, for the first weights.
      size: of the network, `full` or `small`.
      min_messages: people with fewer are left out.
      max_messages: of a person, the earliest; 0 for all.
      held_out_share: expected share of people who never train.
      test_share: of each other person's messages, the last ones, which are never trained on either.
      seed: of the split.

    """

    population: str
    public: tuple[str, ...]
    size: Literal["full", "small"] = "full"
    min_messages: Annotated[int, msgspec.Meta(ge=2)] = 20
    max_messages: Annotated[int, msgspec.Meta(ge=0)] = 200
    held_out_share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.2
    test_share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.2
    seed: Annotated[int, msgspec.Meta(ge=0)] = 1

    @property
    def shape(self) -> NetworkShape:
        """Of the network."""
        return SIZES[self.size]


class Central(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="central"):
    """Training on pooled text, as no keyboard could do it in private.

    Attributes:
      text: which: public, the population's own, or both pooled.
      start: the experiment whose weights it starts from; None for random ones.
      epochs: passes over the text.
      batch_size: sequences of 40 words a step.
      learning_rate: Adam's, at first.
      seed: of first weights and order.

    """

    text: Literal["pooled", "public", "population"] = "pooled"
    start: str | None = None
    epochs: Positive = 4
    batch_size: Positive = 24
    learning_rate: Rate = 2e-3
    seed: Annotated[int, msgspec.Meta(ge=0)] = 1


class Noise(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Noise of a promise in production, scaled to a cohort that one machine can train.

    What noise does to a model hangs on its share of the average. A cohort of n is given n / `cohort` of the noise of
    the deployment's sum, so that the average of the few has the noise that the average of the many would have.

    Attributes:
      mechanism: how noise is correlated.
      noise_multiplier: z of the deployment: the noise on its sum, in units of the clipping norm.
      cohort: of the deployment.
      devices: of the deployment's population.
      rounds: that its promise is for.
      epsilon, delta: the promise.

    """

    mechanism: Mechanism = Independent()
    noise_multiplier: Rate
    cohort: Positive
    devices: Positive
    rounds: Positive
    epsilon: float
    delta: float


class Federated(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="federated"):
    """Rounds over the population's people, each a device.

    Attributes:
      start: the experiment whose weights it starts from.
      rounds: how many.
      cohort: devices a round, all of which report.
      public_devices: as many of the operator's own take part in each round, over public text, so that what that taught
        is not forgotten (mixed federated learning, Augenstein et al. 2022, arXiv 2205.13655).
      training: of each device.
      l2_clip_norm: C, in units of weight change.
      optimizer: the server's.
      averaged: how many of the newest checkpoints make the model that is measured.
      noise: None for none.
      seed: of cohorts and of the devices' order.

    """

    start: str
    rounds: Positive = 200
    cohort: Positive = 64
    public_devices: Annotated[int, msgspec.Meta(ge=0)] = 0
    training: TrainingParameters = TrainingParameters(
        batch_size=16, sequence_length=20, local_epochs=1, learning_rate=0.5, max_words=10_000
    )
    l2_clip_norm: Rate = 2.0
    optimizer: ServerOptimizer = ServerMomentum(momentum=0.9, learning_rate=1.0)
    averaged: Positive = 8
    noise: Noise | None = None
    seed: Annotated[int, msgspec.Meta(ge=0)] = 1

    @property
    def reports(self) -> int:
        """Of a round: what sums are divided by."""
        return self.cohort + self.public_devices

    def plan(self, shape: NetworkShape) -> Plan:
        """What devices are asked for."""
        privacy = PrivacyParameters(
            l2_clip_norm=self.l2_clip_norm, noise_multiplier=0, report_goal=self.cohort, minimum_separation_s=0
        )
        return Plan(tensors=shape.tensors, training=self.training, privacy=privacy)


Training = Central | Federated
