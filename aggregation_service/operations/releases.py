"""Releases: what devices predict with. Proposed to the gate or published, rolled out in steps, and taken back."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection

from aggregation_service import audit
from aggregation_service.config import ServiceConfig, load_signing_key
from aggregation_service.logs import log_event
from aggregation_service.operations.evaluations import EvaluationSettings, add_evaluation, require_no_evaluation
from aggregation_service.operations.shared import (
    OperationError,
    check_size,
    opened,
    require_population,
)
from aggregation_service.releases import publishing
from aggregation_service.releases.publishing import NothingToGoBackTo, RolledBack, Signer
from aggregation_service.releases.statements import STATEMENT_FILE
from aggregation_service.service import clock_of
from aggregation_service.storage import models, releases
from aggregation_service.storage.locks import lock_population
from aggregation_service.storage.releases import ReleaseRecord, ReleaseStatus
from protocol.manifest import Manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """A candidate: its release, and the task that evaluates it; None where the policy has no gate."""

    release_id: int
    task_id: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Transaction:
    """One operator's change of one population's releases."""

    connection: Connection
    population: str
    signer: Signer
    actor: str
    now: float

    @property
    def has_gate(self) -> bool:
        return models.get_policy(self.connection, self.population).gate_margin is not None

    def find(self, release_id: int) -> ReleaseRecord:
        is_id = 0 < release_id < 2**31  # a column cannot be asked for more
        release = releases.find_release(self.connection, self.population, release_id) if is_id else None
        if release is None:
            raise OperationError(f"population {self.population} has no release {release_id}")
        return release

    def make(
        self, files: Mapping[str, bytes], model_version: int | None, status: ReleaseStatus, rollout_percent: int
    ) -> publishing.Published:
        """Makes a release of `files`, with the privacy statement beside them."""
        _check_files(files)
        _check_percent(rollout_percent)
        return publishing.make_release(
            self.connection,
            self.population,
            files=files,
            model_version=_known_version(self.connection, self.population, model_version),
            status=status,
            rollout_percent=rollout_percent,
            signer=self.signer,
            now=self.now,
        )

    def record(self, action: str, release_id: int, **details: object) -> None:
        subject = f"{self.population}/{release_id}"
        audit.record(
            self.connection,
            actor=self.actor,
            action=f"release.{action}",
            subject=subject,
            details=details,
            now=self.now,
        )
        log_event(f"release_{action}", population=self.population, release=release_id)


def publish_release(
    config: ServiceConfig,
    *,
    population: str,
    files: Mapping[str, bytes],
    model_version: int | None = None,
    rollout_percent: int = 100,
    despite_gate: bool = False,
    actor: str | None = None,
) -> Manifest:
    """Signs `files` as the population's newest release, with the privacy statement of its training beside them.

    Args:
      config: the service.
      population: an existing one.
      files: by name: lower-case letters, digits, '_' and '.', beginning with a letter; not `STATEMENT_FILE`.
      model_version: the version released; None for the population's newest (0 if it has none).
      rollout_percent: how many of the devices are offered it.
      despite_gate: publishes although the policy has a gate; the audit log says so.
      actor: who does it, for the audit log; None for the user of this machine.

    Raises:
      OperationError: unknown population or model version, no files, a file's name or size that cannot be released, a
        percentage that is none, or a policy with a gate.

    """
    with _changing(config, population, actor) as change:
        _check_gate(change, despite_gate)
        published = change.make(files, model_version, "released", rollout_percent)
        version = published.manifest.model_version
        details = {"model_version": version, "rollout_percent": rollout_percent, "despite_gate": despite_gate}
        change.record("published", published.release_id, **details)
    return published.manifest


def propose_release(
    config: ServiceConfig,
    *,
    population: str,
    files: Mapping[str, bytes],
    model_version: int | None = None,
    rollout_percent: int = 100,
    evaluation: EvaluationSettings | None = None,
    actor: str | None = None,
) -> Proposal:
    """Signs `files` as a candidate, which no device is offered before the policy's gate has let it through.

    Earlier candidates are superseded. Without a gate the candidate waits for `publish_candidate`.

    Args:
      config: the service.
      population: an existing one.
      files: as of `publish_release`.
      model_version: as of `publish_release`.
      rollout_percent: how many of the devices are offered it once it is released.
      evaluation: of the round that decides.
      actor: who does it, for the audit log; None for the user of this machine.

    Raises:
      OperationError: as of `publish_release`, but for the gate; with a gate also as of `create_evaluation`.
      WrongContent: a model version whose tensors are not those of the training task.

    """
    with _changing(config, population, actor) as change:
        require_no_evaluation(change.connection, population)
        waiting = releases.list_releases(change.connection, population, "candidate")
        made = change.make(files, model_version, "candidate", rollout_percent)
        for candidate in waiting:
            because = f"release {made.release_id} was proposed instead"
            releases.decide_release(change.connection, candidate.id, "refused", because)
        task_id = None
        if change.has_gate:
            task_id = add_evaluation(
                change.connection,
                population,
                candidate_version=made.manifest.model_version,
                baseline_version=None,
                settings=evaluation or EvaluationSettings(),
                delta=config.privacy_delta,
                now=change.now,
            )
        details = {"model_version": made.manifest.model_version, "rollout_percent": rollout_percent, "task": task_id}
        change.record("proposed", made.release_id, **details)
    return Proposal(release_id=made.release_id, task_id=task_id)


def publish_candidate(
    config: ServiceConfig,
    *,
    population: str,
    release_id: int,
    despite_gate: bool = False,
    actor: str | None = None,
) -> Manifest:
    """Releases the files of a candidate that waits, or that the gate refused.

    They are signed anew, with a privacy statement of what is booked by now: its evaluation is in it.

    Raises:
      OperationError: unknown population or release, one that is no candidate, or a policy with a gate unless
        `despite_gate`.

    """
    with _changing(config, population, actor) as change:
        _check_gate(change, despite_gate)
        candidate = change.find(release_id)
        if candidate.status not in ("candidate", "refused"):
            raise OperationError(f"release {release_id} must be a candidate or refused, got {candidate.status}")
        decision = f"published by {change.actor} from release {release_id}"
        made = publishing.publish_candidate(
            change.connection, candidate, decision=decision, signer=change.signer, now=change.now
        )
        details = {"candidate": release_id, "model_version": candidate.model_version, "despite_gate": despite_gate}
        change.record("published", made.release_id, **details)
    return made.manifest


def set_rollout(
    config: ServiceConfig, *, population: str, release_id: int, percent: int, actor: str | None = None
) -> None:
    """Offers a release to `percent` of the devices. Those that have adopted it keep it, but for `rollback_release`.

    Raises:
      OperationError: unknown population or release, one that is not released, or a percentage that is none.

    """
    _check_percent(percent)
    with _changing(config, population, actor) as change:
        release = change.find(release_id)
        if release.status != "released":
            raise OperationError(f"release {release_id} must be released to be rolled out, got {release.status}")
        releases.set_rollout(change.connection, release_id, percent)
        change.record("rollout_changed", release_id, old=release.rollout_percent, new=percent)


def rollback_release(
    config: ServiceConfig, *, population: str, to: int | None = None, actor: str | None = None
) -> RolledBack:
    """Withdraws the newest releases and offers an earlier one again, to every device, as a new and later release.

    Args:
      config: the service.
      population: an existing one.
      to: the release to go back to; None for the last that every device was offered before the newest one.
      actor: who does it, for the audit log; None for the user of this machine.

    Raises:
      OperationError: unknown population, or nothing to go back to.

    """
    with _changing(config, population, actor) as change:
        try:
            made = publishing.roll_back(change.connection, population, to=to, signer=change.signer, now=change.now)
        except NothingToGoBackTo as error:
            raise OperationError(str(error)) from None
        change.record("rolled_back", made.release_id, to=made.target_id, withdrawn=made.withdrawn_ids)
    return made


def list_releases(config: ServiceConfig, population: str) -> list[ReleaseRecord]:
    """All releases of a population, newest first.

    Raises:
      OperationError: unknown population.

    """
    with opened(config) as database, database.read() as connection:
        require_population(connection, population)
        return releases.list_releases(connection, population)


@contextmanager
def _changing(config: ServiceConfig, population: str, actor: str | None) -> Iterator[_Transaction]:
    """One transaction in which nobody else changes the population's releases."""
    now = clock_of(config).now()
    signer = Signer(key=load_signing_key(config.signing_key_path), delta=config.privacy_delta)
    with opened(config) as database, database.write() as connection:
        require_population(connection, population)
        lock_population(connection, population)
        yield _Transaction(
            connection=connection,
            population=population,
            signer=signer,
            actor=actor or audit.machine_actor(),
            now=now,
        )


def _check_gate(change: _Transaction, despite_gate: bool) -> None:
    if change.has_gate and not despite_gate:
        raise OperationError(
            f"the policy of {change.population} has a gate: propose the release, or publish it despite the gate"
        )


def _check_percent(percent: int) -> None:
    if not 0 <= percent <= 100:
        raise OperationError(f"a roll-out must be 0 to 100 percent, got {percent}")


def _known_version(connection: Connection, population: str, wanted: int | None) -> int:
    newest = models.newest_version(connection, population)
    if wanted is None:
        return newest or 0
    if newest is None:
        raise OperationError(f"population {population} has no model versions yet, got model_version {wanted}")
    if not 0 <= wanted <= newest or not models.has_checkpoint(connection, population, wanted):
        raise OperationError(
            f"model_version must be one of 0 to {newest} that {population} still has, got {wanted}; "
            "its policy's keep_checkpoints says how many are kept"
        )
    return wanted


def _check_files(files: Mapping[str, bytes]) -> None:
    if not files:
        raise OperationError("a release must have at least one file, got none")
    for name, content in files.items():
        if not re.fullmatch("[a-z][a-z0-9_.]{0,63}", name):
            raise OperationError(f"a release's file name must be of a-z, 0-9, '_' and '.', got {name!r}")
        if name == STATEMENT_FILE:
            raise OperationError(f"a release's file must not be named {name}, which the service writes itself")
        check_size(name, content)
