"""The opening of a round: everything that its devices will get is frozen and signed before the first one has it."""

import secrets

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from aggregation_service.rounds.state import open_round
from aggregation_service.storage.books import max_participations
from aggregation_service.storage.files import get_entry
from aggregation_service.storage.models import Checkpoint, Task, newest_checkpoint, newest_task
from aggregation_service.storage.rounds import RoundRecord, next_number
from protocol.manifest import Manifest, SignedManifest, sign_manifest


def draft_round(connection: Connection, population: str, key: Ed25519PrivateKey, now: float) -> RoundRecord | None:
    """Drafts the population's next round, without storing it.

    Returns:
      A round without devices, or None if the population has nothing to train.

    """
    task = newest_task(connection, population)
    checkpoint = newest_checkpoint(connection, population)
    if task is None or checkpoint is None:
        return None
    return RoundRecord(
        id=secrets.token_hex(16),
        population=population,
        number=next_number(connection, population),
        task=task,
        model_version=checkpoint.model_version,
        manifest=_sign(connection, task, checkpoint, key, now),
        state=open_round(task.parameters, task.plan.privacy.report_goal, now),
        max_participations=max_participations(connection, population),
    )


def _sign(
    connection: Connection, task: Task, checkpoint: Checkpoint, key: Ed25519PrivateKey, now: float
) -> SignedManifest:
    files = {
        "plan": task.plan_file,
        "training_graph": get_entry(connection, task.training_graph_sha256),
        "checkpoint": get_entry(connection, checkpoint.file_sha256),
    }
    if task.vocabulary_sha256 is not None:
        files["vocabulary"] = get_entry(connection, task.vocabulary_sha256)
    manifest = Manifest(
        purpose="round",
        population=task.population,
        model_version=checkpoint.model_version,
        created_at=int(now),
        files=files,
    )
    return sign_manifest(manifest, key)
