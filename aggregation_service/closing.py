"""The close of a round: noise, ledger, optimiser, checkpoint, in this order.

A crash between any two of these may waste privacy budget and never under-reports it: the ledger entry is committed
before anything computed from the noised sum is.
"""

from aggregation_service.logs import log_event
from aggregation_service.privacy.gaussian import noised_sum
from aggregation_service.privacy.ledger import GaussianSumReleased
from aggregation_service.rounds.accumulator import SumArray, TakenSum
from aggregation_service.rounds.optimizer import decode_state, encode_state
from aggregation_service.storage.books import append_event
from aggregation_service.storage.database import Database
from aggregation_service.storage.files import find_content
from aggregation_service.storage.models import Checkpoint, add_checkpoint, newest_checkpoint
from aggregation_service.storage.rounds import RoundRecord, save_round
from protocol.weights import check_weights, decode_checkpoint, encode_checkpoint, flatten, unflatten


class CloseError(Exception):
    """A round whose books and sum disagree, or that ended while it was being closed; it has no result."""


def close_round(database: Database, record: RoundRecord, taken: TakenSum, now: float) -> None:
    """Turns a round's sum into the next model version.

    Args:
      database: where ledger and checkpoint go.
      record: the round, its state closed already but not yet stored so.
      taken: its sum.
      now: seconds since 1970.

    Raises:
      CloseError: the sum does not hold the reports that the round counted, or the round was ended by another.
      WrongContent: the new weights are not finite.

    """
    if taken.num_updates != record.state.reported:
        raise CloseError(f"the sum must hold {record.state.reported} reports, got {taken.num_updates}")
    privacy = record.task.plan.privacy
    noised = noised_sum(taken.total, noise_multiplier=privacy.noise_multiplier, l2_clip_norm=privacy.l2_clip_norm)
    with database.write() as connection:
        append_event(connection, record.population, _event(record), now)
    # A fixed divisor, not the number of reports: that number depends on who took part, and is not noised.
    # (McMahan et al. 2018, arXiv 1710.06963, section 3.2, the fixed-denominator estimator)
    content, state = _next_checkpoint(database, record, noised / privacy.report_goal)
    with database.write() as connection:
        if not save_round(connection, record):
            raise CloseError("the round was ended while it was being closed")
        version = add_checkpoint(connection, record.population, content=content, optimizer_state=state, now=now)
    log_event("round_closed", round=record.id, reports=record.state.reported, model_version=version)


def _event(record: RoundRecord) -> GaussianSumReleased:
    privacy = record.task.plan.privacy
    return GaussianSumReleased(
        round_id=record.id,
        model_version=record.model_version,
        num_reports=record.state.reported,
        max_participations=record.max_participations,
        noise_multiplier=privacy.noise_multiplier,
        l2_clip_norm=privacy.l2_clip_norm,
    )


def _next_checkpoint(database: Database, record: RoundRecord, average: SumArray) -> tuple[bytes, bytes]:
    """Steps the optimiser; returns the new checkpoint file and its state's bytes."""
    specs = record.task.plan.tensors
    checkpoint, content = _newest(database, record.population)
    weights = flatten(decode_checkpoint(content, specs), specs)
    optimizer = record.task.optimizer
    step = optimizer.step(weights, decode_state(optimizer, checkpoint.optimizer_state, weights.size), average)
    stepped = unflatten(step.weights, specs)
    check_weights(stepped, specs)
    return encode_checkpoint(stepped), encode_state(step.state)


def _newest(database: Database, population: str) -> tuple[Checkpoint, bytes]:
    with database.read() as connection:
        checkpoint = newest_checkpoint(connection, population)
        content = None if checkpoint is None else find_content(connection, checkpoint.file_sha256)
    if checkpoint is None or content is None:
        raise CloseError(f"population {population} has no checkpoint")
    return checkpoint, content
