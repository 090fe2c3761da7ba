"""The making of a round: everything that its devices will get is frozen and signed before the first one has it."""

import secrets

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from aggregation_service.rounds.state import open_round
from aggregation_service.served import served_files
from aggregation_service.storage import models
from aggregation_service.storage.books import max_participations
from aggregation_service.storage.clipping_states import clipping_of, for_next_round
from aggregation_service.storage.discoveries import find_candidates
from aggregation_service.storage.files import get_entry, put_file
from aggregation_service.storage.models import Checkpoint, Task
from aggregation_service.storage.rounds import RoundRecord, next_number
from protocol.manifest import FileEntry, Manifest, SignedManifest, sign_manifest
from protocol.plan import encode_plan


def make_standing_round(
    connection: Connection, task: Task, *, signing_key: Ed25519PrivateKey, sealing_key: bytes, now: float
) -> RoundRecord | None:
    """Makes a population's next round, without storing it.

    Args:
      connection: a transaction that has locked the population.
      task: what the round is for.
      signing_key: the service's.
      sealing_key: 32 bytes, the public half of the key that this round's partial sums are sealed to.
      now: seconds since 1970.

    Returns:
      A round without devices, or None if the model version that it needs is not there. Its task has the plan that its
      devices will have.

    Raises:
      WrongClippingState: the task's clipping norm adapts, and what is stored of it is not the task's.

    """
    task = for_next_round(connection, task)
    if clipping_of(task) is not None:  # a plan of the round's own, as its norm is
        put_file(connection, encode_plan(task.plan))
    checkpoint = _checkpoint_of(connection, task)
    if checkpoint is None:
        return None
    return RoundRecord(
        id=secrets.token_hex(16),
        population=task.population,
        number=next_number(connection, task.population),
        task=task,
        model_version=checkpoint.model_version,
        manifest=_sign(connection, task, checkpoint, signing_key, now),
        state=open_round(task.parameters, task.plan.privacy.report_goal, now),
        sealing_key=sealing_key,
        max_participations=max_participations(connection, task.population),
    )


def is_current(connection: Connection, record: RoundRecord) -> bool:
    """Whether a standing round is still the one that would be made now: same task, newest weights and clipping norm.

    Raises:
      WrongClippingState: as `make_standing_round`.

    """
    if models.active_task_id(connection, record.population) != record.task.id:
        return False
    if for_next_round(connection, record.task).plan != record.task.plan:
        return False
    is_training = record.task.kind == "training"
    return not is_training or models.newest_version(connection, record.population) == record.model_version


def _checkpoint_of(connection: Connection, task: Task) -> Checkpoint | None:
    """Training goes on from the newest version, an evaluation looks at its candidate."""
    if task.candidate_version is None:
        return models.newest_checkpoint(connection, task.population)
    return models.find_checkpoint(connection, task.population, task.candidate_version)


def _sign(
    connection: Connection, task: Task, checkpoint: Checkpoint, key: Ed25519PrivateKey, now: float
) -> SignedManifest:
    files = {"plan": task.plan_file, **_work_files(connection, task, checkpoint)}
    if task.vocabulary_sha256 is not None:
        files["vocabulary"] = get_entry(connection, task.vocabulary_sha256)
    if task.baseline_version is not None:
        baseline = models.find_checkpoint(connection, task.population, task.baseline_version)
        if baseline is not None:
            served = served_files(connection, task.population, baseline, task.plan.tensors)
            files["baseline_checkpoint"] = served["checkpoint"]
    manifest = Manifest(
        purpose="round",
        population=task.population,
        # The population's newest, also where an older one is evaluated: devices refuse what may come from the past.
        model_version=models.newest_version(connection, task.population) or 0,
        created_at=int(now),
        files=files,
    )
    return sign_manifest(manifest, key)


def _work_files(connection: Connection, task: Task, checkpoint: Checkpoint) -> dict[str, FileEntry]:
    """What devices compute with: a model, or in a discovery the candidates, which need none."""
    candidates = find_candidates(connection, task.id)
    if candidates is not None:
        return {"candidates": candidates}
    graph = get_entry(connection, task.training_graph_sha256)
    return {
        "training_graph": graph,
        **served_files(connection, task.population, checkpoint, task.plan.tensors),
    }
