"""The close of a round: partial sums and noise, or a robust rule; then ledger, optimiser, checkpoint, in this order.

A crash between any two of these may waste privacy budget and never under-reports it: the ledger entry is committed
before anything computed from the reports is.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from sqlalchemy import Connection

from aggregation_service.coordination.discovering import on_level_closed
from aggregation_service.coordination.noise import add_noise, book_release, without_noise
from aggregation_service.coordination.sealed_sums import open_sums
from aggregation_service.coordination.sealed_updates import Layout, combine_updates, rule_of
from aggregation_service.coordination.sealing import NotSealed, RoundKey
from aggregation_service.logs import log_event
from aggregation_service.releases.gate import on_evaluated
from aggregation_service.releases.publishing import Signer
from aggregation_service.rounds.accumulator import SumArray, TakenSum
from aggregation_service.rounds.combining import Mean, RobustRule
from aggregation_service.rounds.optimizer import decode_state, encode_state
from aggregation_service.rounds.state import close
from aggregation_service.storage import partial_sums
from aggregation_service.storage.database import Database
from aggregation_service.storage.files import find_content
from aggregation_service.storage.locks import lock_population
from aggregation_service.storage.models import Checkpoint, add_checkpoint, newest_checkpoint
from aggregation_service.storage.rounds import RoundRecord, save_round
from protocol.discrete_gaussian import RandomBytes
from protocol.weights import check_weights, decode_checkpoint, encode_checkpoint, flatten, unflatten

Fence = Callable[[Connection], None]
"""Raises `Deposed`, and so undoes the transaction, if this process does not lead any more."""


class CloseError(Exception):
    """A round whose books and sums disagree, or that ended while it was being closed; it has no result."""


def close_round(
    database: Database,
    record: RoundRecord,
    key: RoundKey,
    *,
    fence: Fence,
    signer: Signer,
    now: float,
    random_bytes: RandomBytes = os.urandom,
) -> None:
    """Turns a round's sums into its result: the next model version, what an evaluation found, or the next level.

    Args:
      database: where sums, ledger and checkpoint are.
      record: the round, stored as CLOSING, so that its sums do not change any more.
      key: what its partial sums are sealed to.
      fence: called in every transaction.
      signer: of the release that an evaluation may decide; its key also seals the noise that later rounds take back.
      now: seconds since 1970.
      random_bytes: the source of the noise; only tests pass another than `os.urandom`.

    Raises:
      CloseError: sums or kept updates are not those of the reports that the round counted, or the round was ended by
        another.
      BrokenStream: the stream that the round's noise belongs to cannot go on.
      WrongClippingState: the clipping norm adapts, and what is stored of it is not this round's.
      LostLevel: the list that devices voted on is missing.
      Deposed: another process leads now.
      NonFiniteUpdate, SumOffGrid: a sum that no reports of bounded norm make.
      WrongContent: the new weights are not finite.

    """
    rule = rule_of(record.task)
    result = _released(database, record, key, fence=fence, signer=signer, now=now, random_bytes=random_bytes)
    match record.task.kind:
        case "training":
            weights = result[: record.task.plan.num_weights]  # behind them is what clipping counted, if it adapts
            average = _average(record, weights) if isinstance(rule, Mean) else weights
            _store_checkpoint(database, record, average, fence, now)
        case "evaluation":
            _store_evaluation(database, record, result, fence=fence, signer=signer, now=now)
        case "discovery":
            _store_level(database, record, result, fence, now)


def _released(
    database: Database,
    record: RoundRecord,
    key: RoundKey,
    *,
    fence: Fence,
    signer: Signer,
    now: float,
    random_bytes: RandomBytes,
) -> SumArray:
    """The noised sum of all reports, or what a rule made of them, once the books say that it is released.

    The sum without noise, and the stream's memory, are gone when this returns: room for the next step. Sums with noise
    by devices were booked group by group, before they were opened (`secure.booking`), and are released as they are.
    """
    task, rule = record.task, rule_of(record.task)
    if task.plan.shared_noise is not None:
        return _sum(database, record, key)
    if isinstance(rule, Mean):
        noised = add_noise(database, task, _sum(database, record, key), signer.key, random_bytes)
    else:
        noised = without_noise(task, _combined(database, record, key, rule))
    with database.write() as connection:
        fence(connection)
        book_release(connection, record, noised, signer.key, now)
    return noised.total


def _sum(database: Database, record: RoundRecord, key: RoundKey) -> SumArray:
    taken = _open_sums(database, record, key)
    if taken.num_updates != record.state.reported:
        raise CloseError(f"the sums must hold {record.state.reported} reports, got {taken.num_updates}")
    return taken.total


def _open_sums(database: Database, record: RoundRecord, key: RoundKey) -> TakenSum:
    """Adds up what the workers sealed."""
    with database.read() as connection:
        places = partial_sums.list_parts(connection, record.id)
        parts = (partial_sums.get(connection, record.id, *place) for place in places)
        try:
            return open_sums(key, parts, record.id, record.task.plan.update_size)
        except NotSealed as error:
            raise CloseError(str(error)) from None


def _combined(database: Database, record: RoundRecord, key: RoundKey, rule: RobustRule) -> SumArray:
    """What the rule makes of the updates that were kept: an average update, whatever the number of reports."""
    with database.read() as connection:
        places = partial_sums.list_parts(connection, record.id)
        num_updates = len({assignment_id for assignment_id, _ in places})
        if num_updates != record.state.reported:
            raise CloseError(f"there must be updates of {record.state.reported} reports, got {num_updates}")
        layout, read = Layout.of(record.id, record.task.plan), partial(partial_sums.get, connection, record.id)
        try:
            return combine_updates(key, layout, rule, places, read)
        except NotSealed as error:
            raise CloseError(str(error)) from None


def _average(record: RoundRecord, noised: SumArray) -> SumArray:
    """Divides a sum, in place: 11 MB need not be there twice."""
    # A fixed divisor, not the number of reports: that number depends on who took part, and is not noised.
    # (McMahan et al. 2018, arXiv 1710.06963, section 3.2, the fixed-denominator estimator)
    return np.divide(noised, record.task.plan.privacy.report_goal, out=noised)


def _store_checkpoint(database: Database, record: RoundRecord, average: SumArray, fence: Fence, now: float) -> None:
    content, state = _next_checkpoint(database, record, average)
    with database.write() as connection:
        _end_round(connection, record, fence)
        version = add_checkpoint(connection, record.population, content=content, optimizer_state=state, now=now)
    log_event("round_closed", round=record.id, reports=record.state.reported, model_version=version)


def _store_evaluation(
    database: Database, record: RoundRecord, noised: SumArray, *, fence: Fence, signer: Signer, now: float
) -> None:
    with database.write() as connection:
        _end_round(connection, record, fence)
        on_evaluated(connection, record, noised, signer, now)
    log_event("round_closed", round=record.id, reports=record.state.reported)


def _store_level(database: Database, record: RoundRecord, noised: SumArray, fence: Fence, now: float) -> None:
    with database.write() as connection:
        _end_round(connection, record, fence)
        on_level_closed(connection, record, noised, now)
    log_event("round_closed", round=record.id, reports=record.state.reported)


def _end_round(connection: Connection, record: RoundRecord, fence: Fence) -> None:
    """Writes that the round is closed and deletes its sums, in the transaction that stores its result."""
    lock_population(connection, record.population)
    fence(connection)
    if not save_round(connection, replace(record, state=close(record.state))):
        raise CloseError("the round was ended while it was being closed")
    partial_sums.delete_all(connection, record.id)


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
