"""The noise of a round's sum: fresh, or the next step of its task's stream; and what is booked before the release.

A step is made once. Its event, the stream's state after it and the participations that it counts are one transaction,
committed before the sum is released: whatever dies later leaves the step spent, and the stream goes on after it.
"""

import os
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from aggregation_service.coordination.clipping import book_next_norm
from aggregation_service.coordination.sealed_states import open_state, seal_state
from aggregation_service.coordination.sealing import NotSealed
from aggregation_service.coordination.shares import shares_event
from aggregation_service.privacy.ledger import (
    AdaptiveSumReleased,
    CorrelatedSumReleased,
    GaussianSumReleased,
    LedgerEvent,
    ReleasesLost,
    SumReleased,
    VotesReleased,
)
from aggregation_service.privacy.mechanisms.parameters import Independent
from aggregation_service.privacy.mechanisms.streams import NoiseStream, WrongState
from aggregation_service.privacy.sum_noise import SumNoise, sum_noise
from aggregation_service.rounds.accumulator import SumArray
from aggregation_service.storage import books, noise_streams
from aggregation_service.storage.database import Database
from aggregation_service.storage.models import Task
from aggregation_service.storage.noise_streams import mechanism_of
from aggregation_service.storage.rounds import RoundRecord
from protocol.discrete_gaussian import RandomBytes


class BrokenStream(Exception):
    """A stream that cannot go on: its state is missing, damaged, of another task, or not after the ledger's last step.

    Only another task can train on: it has a stream of its own.
    """


class Noised(NamedTuple):
    """A sum that may be released once it is booked, float64 [size], its noise, and the stream after it, if any."""

    total: SumArray
    noise: SumNoise
    stream: NoiseStream | None = None


def add_noise(
    database: Database,
    task: Task,
    total: SumArray,
    signing_key: Ed25519PrivateKey,
    random_bytes: RandomBytes = os.urandom,
) -> Noised:
    """Rounds a sum to the grid of its noise, and adds that.

    Args:
      database: where the stream's state is; nothing is written.
      task: whose sum it is.
      total: float64 [size]; stays as it was.
      signing_key: the service's, by which the state is sealed.
      random_bytes: the source; only tests pass another than `os.urandom`.

    Guarantees:
      Without noise the result is `total` itself. All that is secret of `total` goes into integers before noise does.

    Raises:
      BrokenStream: see there.
      NonFiniteUpdate: the sum holds NaN or infinity.
      SumOffGrid: the sum is larger than reports of bounded norm could make it.
      NoiseOutOfRange, ValueError: noise that no grid is for.

    """
    noise, mechanism = sum_noise(task.plan, task.parameters), mechanism_of(task)
    if noise.grid is None:
        return Noised(total, noise)
    if isinstance(mechanism, Independent):
        return Noised(noise.grid.with_fresh_noise(total, random_bytes), noise)
    stream = load_stream(database, task, signing_key)
    steps = noise.grid.to_grid(total)
    steps += stream.next(partial(noise.grid.draw, noise.size, random_bytes))
    return Noised(noise.grid.from_grid(steps), noise, stream)


def without_noise(task: Task, combined: SumArray) -> Noised:
    """What a robust rule made of updates, as it is; the books say so, whatever the plan says."""
    return Noised(combined, SumNoise(grid=None, size=combined.size, one_report=task.plan.l2_sensitivity))


def load_stream(database: Database, task: Task, signing_key: Ed25519PrivateKey) -> NoiseStream:
    """Reads a task's stream, or begins it.

    Raises:
      BrokenStream: see there.

    """
    with database.read() as connection:
        step = stream_step(books.list_events(connection, task.population), task.id)
        numbers = noise_streams.list_parts(connection, task.id)
        parts = (noise_streams.get_part(connection, task.id, number) for number in numbers)
        try:
            state = open_state(signing_key, parts, task_id=task.id, num_parts=len(numbers)) if numbers else None
            stream = NoiseStream(mechanism_of(task), task.plan.update_size, context=_context(task), state=state)
        except (NotSealed, WrongState) as error:
            raise BrokenStream(f"the noise of task {task.id} cannot go on: {error}") from None
    if stream.step != step:
        raise BrokenStream(f"the next step of task {task.id} must be {step} after the ledger, got {stream.step}")
    return stream


def book_release(
    connection: Connection, record: RoundRecord, noised: Noised, signing_key: Ed25519PrivateKey, now: float
) -> None:
    """Writes all that must be committed before `noised.total` is released: the event, the stream, the next norm.

    Raises:
      BrokenStream: whose reports are in the sum cannot be told, or the step was made already.
      WrongClippingState: the clipping norm adapts, and what is stored of it is not this round's.

    """
    book_next_norm(connection, record, noised.total)
    step = None if noised.stream is None else _store_step(connection, record, noised.stream, signing_key)
    facts = Facts(record.id, record.model_version, record.state.reported, record.max_participations)
    books.append_event(connection, record.population, _event(record.task, noised.noise, facts, step), now)


def costliest_release(
    connection: Connection, task: Task, events: Iterable[LedgerEvent], participations: int
) -> SumReleased:
    """The event of a task's next release, where the device that took part in its stream most often does so again.

    Args:
      connection: a transaction.
      task: whose release it is.
      events: the population's ledger, oldest first.
      participations: the most of one device in the population once this release is made, >= 1.

    Guarantees:
      The event that will be booked costs no more, as long as `may_take_part` decides who is selected.

    """
    shared = task.plan.shared_noise
    if shared is not None:
        facts = Facts("0" * 32, 0, shared.num_honest, participations)
        return shares_event(shared, **facts._asdict())
    noise = sum_noise(task.plan, task.parameters)
    facts = Facts("0" * 32, 0, 1, participations)  # of no round: nothing of this event is stored
    if noise.grid is None or isinstance(mechanism_of(task), Independent):
        return _event(task, noise, facts, None)
    number, parameters = stream_step(events, task.id), task.parameters
    most, least_gap = noise_streams.observed(connection, task.id)
    separation = min(parameters.separation_rounds, least_gap or parameters.separation_rounds)
    again = min(most + 1, 1 + number // separation, parameters.max_participations or most + 1, participations)
    return _event(task, noise, facts, Step(number, max(most, again), separation))


def may_take_part(connection: Connection, task: Task, device_id: str) -> bool:
    """Whether a device's report may be in the next step of a task's stream: often and far enough apart."""
    if isinstance(mechanism_of(task), Independent):
        return True
    standing = noise_streams.find_standing(connection, task.id, device_id)
    if standing is None:
        return True
    most = task.parameters.max_participations
    if most and standing.participations >= most:
        return False
    return noise_streams.next_step(connection, task.id) - standing.last_step >= task.parameters.separation_rounds


def stream_step(events: Iterable[LedgerEvent], task_id: int) -> int:
    """The number of a stream's next step after the ledger; no stream goes on where releases were lost."""
    step = 0
    for event in events:
        if isinstance(event, ReleasesLost):
            step = 0
        elif isinstance(event, CorrelatedSumReleased) and event.task_id == task_id:
            step = event.step + 1
    return step


class Facts(NamedTuple):
    """What every event says of its round, by the names of the event."""

    round_id: str
    model_version: int
    num_reports: int
    max_participations: int


class Step(NamedTuple):
    """A step of a stream, and what was observed in the stream up to it, itself included."""

    number: int
    participations: int
    min_separation: int


def _event(task: Task, noise: SumNoise, facts: Facts, step: Step | None) -> SumReleased:
    is_secure = task.plan.secure_aggregation is not None
    if step is None:
        return _fresh_event(task, noise, facts, is_secure=is_secure)
    mechanism = mechanism_of(task)
    multiplier, norm = noise.in_stream(mechanism, step.number + 1)
    return CorrelatedSumReleased(
        **facts._asdict(),
        task_id=task.id,
        step=step.number,
        mechanism=mechanism,
        stream_participations=step.participations,
        min_separation=step.min_separation,
        noise_multiplier=multiplier,
        l2_clip_norm=norm,
        secure_aggregation=is_secure,
    )


def _fresh_event(task: Task, noise: SumNoise, facts: Facts, *, is_secure: bool) -> GaussianSumReleased:
    """Where clipping adapts, the count is a coordinate of the sum, so that one event has the cost of both."""
    told = facts._asdict() | {
        "noise_multiplier": noise.noise_multiplier,
        "l2_clip_norm": noise.one_report,
        "secure_aggregation": is_secure,
    }
    privacy, ballot = task.plan.privacy, task.plan.ballot
    if ballot is not None:
        return VotesReleased(
            **told, discovery_id=ballot.discovery_id, level=ballot.level, num_candidates=ballot.num_candidates
        )
    if noise.grid is None or privacy.count_noise is None:
        return GaussianSumReleased(**told)
    return AdaptiveSumReleased(
        **told,
        update_clip_norm=privacy.l2_clip_norm,
        count_noise=noise.grid.noise_deviation / privacy.bit_per_device,
    )


def _store_step(
    connection: Connection, record: RoundRecord, stream: NoiseStream, signing_key: Ed25519PrivateKey
) -> Step:
    """Stores a stream that has made its step, and counts whose reports are in it."""
    task, number = record.task, stream.step - 1
    if noise_streams.next_step(connection, task.id) != number:
        raise BrokenStream(f"step {number} of task {task.id} was made already")
    counted = noise_streams.note_step(connection, task.id, record.id, number)
    if counted != record.state.reported:
        raise BrokenStream(f"assignments must name {record.state.reported} devices that reported, got {counted}")
    state = seal_state(signing_key, stream.to_bytes(), task_id=task.id, step=stream.step)
    noise_streams.put_state(connection, task.id, state)
    most, least_gap = noise_streams.observed(connection, task.id)
    return Step(number, most, least_gap or 1)


def _context(task: Task) -> str:
    return f"task {task.id}"
