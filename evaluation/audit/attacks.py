"""The three attacks of an audit on one ground; each part that finished is kept."""

from collections import Counter
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np

from aggregation_service.privacy.mechanisms.parameters import Independent
from evaluation.audit.membership import MembershipArm, attack_membership
from evaluation.audit.noises import GridNoise, Promise, mechanisms, random_bytes
from evaluation.audit.outcome import Audit, Kept
from evaluation.audit.reconstruction import Reconstruction, Typist, reconstruct, words_of
from evaluation.audit.rounds import RealCohorts, run_rounds
from evaluation.audit.secret_sharer import Planted, SecretSharerArm, expose, plant
from evaluation.audit.settings import AuditSettings
from evaluation.audit.views import views
from evaluation.metrics import evaluate, pool
from evaluation.predictors import NetworkPredictor
from evaluation.rehearsal.ground import Ground
from evaluation.rehearsal.local_training import Job, Trainers
from evaluation.rehearsal.people import draw_cohorts, draw_seed
from evaluation.report import software_versions
from evaluation.split import position
from evaluation.targets import SuggestionIndex, type_messages
from model.averaging import tail_average
from protocol.clipping import clip_to_norm
from protocol.weights import Weights, flatten, unflatten

Bar = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Shows a progress bar with a title and a number of steps; gives what moves it on by one."""


@dataclass(frozen=True, kw_only=True)
class Attacker:
    """Runs attacks.

    Attributes:
      settings: of the audit.
      ground: people, vocabulary, first weights and training graph.
      trainers: whoever trains devices.
      kept: finished parts.
      bar: shows progress.

    """

    settings: AuditSettings
    ground: Ground
    trainers: Trainers
    kept: Kept
    bar: Bar

    def audit(self, size: str, parts: Collection[str]) -> Audit:
        """Runs the attacks that are asked for.

        Args:
          size: of the network, for the report.
          parts: of `reconstruction`, `secret-sharer`, `membership`.

        """
        shared = self.settings.rehearsal
        return Audit(
            size=size,
            seed=shared.seed,
            weights=shared.shape.num_weights,
            devices=len(self.ground.people.training),
            cohort=shared.cohort,
            phrase_rounds=shared.rounds,
            reconstruction=self.find_words() if "reconstruction" in parts else None,
            secret_sharer=tuple(self.find_phrases()) if "secret-sharer" in parts else (),
            membership=tuple(self.find_canaries()) if "membership" in parts else (),
            software=software_versions(),
        )

    def find_words(self) -> Reconstruction:
        """Words recovered from updates."""

        def run() -> Reconstruction:
            shared = self.settings.rehearsal
            ways = views(
                shared.l2_clip_norm, shared.shape.num_weights, self.settings.groups, self.settings.noise_multipliers
            )
            with self.bar("words of devices", 1 + len(ways)) as on_step:
                typists = self._typists()
                on_step()
                specs, vocabulary = shared.shape.tensors, self.ground.vocabulary
                return reconstruct(typists, ways, specs, vocabulary, seed=shared.seed, on_view=on_step)

        return self.kept.get_or_run(self._key("words"), Reconstruction, run)

    def find_phrases(self) -> list[SecretSharerArm]:
        """Planted phrases in models: before training, without noise, with some and with all of it."""
        shared, people = self.settings.rehearsal, self.ground.people.training
        called = self._participations()
        carriers = sorted(called, key=lambda name: position(name, draw_seed(shared.seed, "carriers")))
        planted = plant(people, carriers, self.ground.vocabulary, self.settings.secret_sharer, shared.seed)
        arms = []
        for z in (None, 0.0, *self.settings.noise_multipliers):
            run = self._phrases_run(planted, z)
            arms.append(self.kept.get_or_run(self._key("phrases", z), SecretSharerArm, run))
        return arms

    def find_canaries(self) -> list[MembershipArm]:
        """Canary devices behind each mechanism's noise."""
        chosen = self.settings.membership
        pattern = (chosen.rounds, chosen.min_separation, chosen.max_participations)
        arms = []
        for name, mechanism in mechanisms(*pattern).items():
            promise = Promise(
                mechanism=mechanism,
                noise_multiplier=self.settings.noise_multiplier,
                l2_clip_norm=self.settings.rehearsal.l2_clip_norm,
                rounds=chosen.rounds,
                min_separation=chosen.min_separation,
                max_participations=chosen.max_participations,
            )
            run = self._canaries_run(name, promise)
            arms.append(self.kept.get_or_run(self._key("canaries", promise), MembershipArm, run))
        return arms

    def _participations(self) -> Counter[str]:
        """How often each device trains in the rounds of planted phrases."""
        cohorts = draw_cohorts(sorted(self.ground.people.training), self.settings.rehearsal)
        return Counter(name for cohort in cohorts for name in cohort)

    def _typists(self) -> list[Typist]:
        """Devices that trained on their people's texts."""
        shared, texts = self.settings.rehearsal, self.ground.people.training
        names = sorted(texts, key=lambda name: position(name, draw_seed(shared.seed, "typists")))
        names = names[: self.settings.devices]
        jobs = [Job(texts[name], draw_seed(shared.seed, "device", name)) for name in names]
        trained = self.trainers.train(self.ground.pretrained, jobs)
        return [
            Typist(
                clip_to_norm(local.update, shared.l2_clip_norm).update, words_of(texts, name, self.ground.vocabulary)
            )
            for name, local in zip(names, trained, strict=True)
            if np.isfinite(local.update).all()
        ]

    def _phrases_run(self, planted: Planted, noise_multiplier: float | None) -> Callable[[], SecretSharerArm]:
        settings, ground, shared = self.settings, self.ground, self.settings.rehearsal
        promise = Promise(
            mechanism=Independent(),
            noise_multiplier=noise_multiplier or 0.0,
            l2_clip_norm=shared.l2_clip_norm,
            rounds=shared.rounds,
            min_separation=1,
            max_participations=max(self._participations().values()),
        )

        def run() -> SecretSharerArm:
            with self.bar(f"phrases, noise {noise_multiplier}", shared.rounds + 1) as on_step:
                model = ground.pretrained if noise_multiplier is None else self._train(planted, promise, on_step)
                exposures = expose(model, planted.phrases, ground.vocabulary, settings.secret_sharer, shared.seed)
                on_step()
            delta = settings.membership.delta
            spent = promise.proven(shared.shape.num_weights, shared.cohort, delta)
            return SecretSharerArm(
                noise_multiplier=noise_multiplier,
                epsilon=spent.epsilon if noise_multiplier else None,
                delta=delta,
                top1=self._top1(model),
                exposures=exposures,
            )

        return run

    def _train(self, planted: Planted, promise: Promise, on_round: Callable[[], None]) -> Weights:
        """The model that would be released: the average of the newest checkpoints."""
        shared, specs = self.settings.rehearsal, self.settings.rehearsal.shape.tensors
        weights = flatten(self.ground.pretrained, specs)
        noise = GridNoise(promise, weights.size, random_bytes(shared.seed, "phrases", promise))
        checkpoints: list[Weights] = []
        cohorts = RealCohorts(shared, planted.texts, self.trainers)
        for closed in run_rounds(shared, weights, cohorts, noise, shared.cohort):
            checkpoints = [*checkpoints, unflatten(closed.weights, specs)][-shared.averaged_checkpoints :]
            on_round()
        return tail_average(checkpoints, shared.averaged_checkpoints)

    def _canaries_run(self, name: str, promise: Promise) -> Callable[[], MembershipArm]:
        rounds, chosen = self.settings.canary_rounds, self.settings.membership
        weights = flatten(self.ground.pretrained, rounds.shape.tensors)
        added = replace(promise, noise_multiplier=promise.noise_multiplier * chosen.noise_share)

        def run() -> MembershipArm:
            with self.bar(f"canaries, {name} noise", rounds.rounds) as on_round:
                return attack_membership(
                    name,
                    promise,
                    GridNoise(added, weights.size, random_bytes(rounds.seed, "canaries", promise)),
                    RealCohorts(rounds, self.ground.people.training, self.trainers),
                    settings=rounds,
                    weights=weights,
                    chosen=chosen,
                    on_round=on_round,
                )

        return run

    def _top1(self, weights: Weights) -> float:
        """Recall on the newest messages of people who never trained."""
        vocabulary, newest = self.ground.vocabulary, self.settings.rehearsal.curve_messages
        held_out = self.ground.people.held_out
        typed = {user: type_messages(texts[-newest:], vocabulary) for user, texts in held_out.items()}
        return pool(evaluate(NetworkPredictor(weights), typed, SuggestionIndex(vocabulary)).values()).top1

    def _key(self, *parts: object) -> str:
        """Hexadecimal: names all that a part depends on, this code excepted."""
        return sha256("\n".join(map(repr, (self.ground.fingerprint, self.settings, *parts))).encode()).hexdigest()[:16]
