"""Running one arm: rounds by one way to combine, under one attack or none."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np

from aggregation_service.rounds.optimizer import Step, decode_state
from evaluation.rehearsal.attacks import Attack
from evaluation.rehearsal.ground import Ground
from evaluation.rehearsal.local_training import Job, Trainers
from evaluation.rehearsal.measuring import Measuring
from evaluation.rehearsal.outcome import ArmOutcome, RoundOutcome
from evaluation.rehearsal.people import draw_attackers, draw_cohorts, draw_seed
from evaluation.rehearsal.ways import Combined, Secure, Sent, Way
from model.averaging import tail_average
from protocol.arrays import FloatArray
from protocol.clipping import clip_to_norm
from protocol.errors import WrongContent
from protocol.weights import Weights, decode_checkpoint, encode_served, flatten, unflatten


@dataclass(frozen=True)
class Arm:
    """What sets a run apart: all else is the ground's."""

    way: Way
    attack: Attack | None = None

    @property
    def name(self) -> str:
        """As tables show it, unique among arms of different ways or attacks."""
        return self.way.name if self.attack is None else f"{self.way.name}, {self.attack.name}"

    def key(self, ground: Ground) -> str:
        """Hexadecimal: names all that an outcome depends on, this code excepted."""
        return sha256(f"{ground.fingerprint}\n{self!r}".encode()).hexdigest()[:16]


@dataclass
class _Server:
    """The model on the server, and the checkpoints that the released one is the average of."""

    ground: Ground
    step: Step
    checkpoints: list[Weights] = field(default_factory=list)

    @classmethod
    def begin(cls, ground: Ground) -> "_Server":
        specs, optimizer = ground.settings.shape.tensors, ground.settings.optimizer
        weights = flatten(ground.pretrained, specs)
        return cls(ground, Step(weights, decode_state(optimizer, None, weights.size)))

    def served(self) -> Weights:
        """What devices train from: the checkpoint as float16, or as it is where float16 cannot hold it."""
        specs = self.ground.settings.shape.tensors
        weights = unflatten(self.step.weights, specs)
        try:
            return decode_checkpoint(encode_served(weights), specs)
        except WrongContent:
            return weights

    def close(self, combined: Combined) -> bool:
        """Steps, if the round has enough reports and its weights are finite."""
        settings = self.ground.settings
        if combined.reports < settings.minimum_reports:
            return False
        step = settings.optimizer.step(self.step.weights, self.step.state, combined.average)
        if not np.isfinite(step.weights).all():
            return False
        self.step = step
        self.checkpoints.append(unflatten(step.weights, settings.shape.tensors))
        del self.checkpoints[: -settings.averaged_checkpoints]
        return True

    def candidate(self) -> Weights:
        """What would be released now."""
        if not self.checkpoints:
            return self.ground.pretrained
        return tail_average(self.checkpoints, self.ground.settings.averaged_checkpoints)


@dataclass(frozen=True)
class _Devices:
    """All devices, and which of them attack."""

    arm: Arm
    ground: Ground
    trainers: Trainers
    attackers: frozenset[str]

    @classmethod
    def of(cls, arm: Arm, ground: Ground, trainers: Trainers) -> "_Devices":
        attackers = draw_attackers(ground.people.training, ground.settings) if arm.attack else frozenset[str]()
        return cls(arm, ground, trainers, attackers)

    def train(self, checkpoint: Weights, cohort: Sequence[str], number: int) -> tuple[list[Sent], float | None]:
        """What a cohort sends, and its mean loss before training."""
        jobs = [Job(self._texts(device), self._seed(device, number)) for device in cohort]
        trained = self.trainers.train(checkpoint, jobs)
        sent = [
            self._send(device, local.update, job.seed) for device, local, job in zip(cohort, trained, jobs, strict=True)
        ]
        losses = [local.first_loss for local in trained if np.isfinite(local.first_loss)]
        return [each for each in sent if each is not None], float(np.mean(losses)) if losses else None

    def _attack(self, device: str) -> Attack | None:
        return self.arm.attack if device in self.attackers else None

    def _texts(self, device: str) -> Sequence[str]:
        attack, texts = self._attack(device), self.ground.people.training[device]
        return texts if attack is None else attack.texts(texts)

    def _seed(self, device: str, number: int) -> int:
        return draw_seed(self.ground.settings.seed, "device", number, device)

    def _send(self, device: str, update: FloatArray, seed: int) -> Sent | None:
        """None if training diverged: an honest device does not report then, and an attacker has nothing to send."""
        attack, norm = self._attack(device), self.ground.settings.l2_clip_norm
        if not np.isfinite(update).all():
            return None
        if attack is None:
            return Sent(clip_to_norm(update, norm).update, forged=False)
        return Sent(attack.forge(update, norm, seed), forged=True)


def run_arm(
    arm: Arm, ground: Ground, measuring: Measuring, trainers: Trainers, on_round: Callable[[], None]
) -> ArmOutcome:
    """Runs all rounds of an arm.

    Guarantees:
      Cohorts, the devices' own randomness and who attacks depend on the ground alone, so arms differ by what sets them
      apart and by what follows from it. Without an attack the attackers keep to the plan as all others do.

    """
    settings = ground.settings
    began = time.perf_counter()
    server, devices = _Server.begin(ground), _Devices.of(arm, ground, trainers)
    plan = settings.secure_plan if isinstance(arm.way, Secure) else settings.plain_plan
    rounds = []
    for number, cohort in enumerate(draw_cohorts(sorted(ground.people.training), settings), start=1):
        sent, loss = devices.train(server.served(), cohort, number)
        combined = arm.way.combine(sent, plan, draw_seed(settings.seed, "round", number))
        closed = server.close(combined)
        recall = measuring.recall(server.candidate())
        rounds.append(
            RoundOutcome(
                number=number,
                attackers=sum(device in devices.attackers for device in cohort),
                reports=combined.reports,
                dropped_groups=combined.dropped_groups,
                closed=closed,
                top1=recall.top1,
                top3=recall.top3,
                loss=loss,
            )
        )
        on_round()
    released = server.candidate()
    return ArmOutcome(
        name=arm.name,
        way=arm.way.name,
        attack=None if arm.attack is None else arm.attack.name,
        by_user=measuring.by_user(released),
        backdoor_success=measuring.backdoor_success(released),
        rounds=tuple(rounds),
        seconds=time.perf_counter() - began,
    )
