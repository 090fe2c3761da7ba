"""Groups are formed of the devices that wait, as they come: while one walks through its stages, others still train."""

import secrets
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from aggregation_service.coordination.secure.rosters import task_of
from aggregation_service.logs import log_event
from aggregation_service.rounds.groups import Stage
from aggregation_service.rounds.state import Phase
from aggregation_service.storage import secure_groups
from aggregation_service.storage.rounds import RoundRecord
from aggregation_service.storage.secure_groups import Gathering, GroupRecord
from protocol.plan import SecureAggregationParameters
from protocol.secure_aggregation import server
from protocol.secure_aggregation.group import GroupFailed
from protocol.secure_aggregation.inputs import terms_of
from protocol.secure_aggregation.messages import GroupParameters, KeyBundle, decode, encode
from protocol.secure_aggregation.sizing import GraphSize, NoSafeGraph, size_group

Waiting = tuple[str, KeyBundle]
"""An assignment and its device's keys."""


def group_sizes(record: RoundRecord, gathering: Gathering, now: float) -> list[int]:
    """How many members each of the groups has that are to be formed now.

    Full groups, as long as there are devices for them. Once no more devices are to come, or the first has waited for
    `gather_s`, of all that wait groups of nearly equal size; or as many full ones as there can be, if smaller ones
    would not be safe.

    Args:
      record: the round.
      gathering: its devices that wait.
      now: seconds since 1970.

    """
    secure = record.task.plan.secure_aggregation
    if secure is None or gathering.waiting < secure.min_members:
        return []
    if not _all_have_come(record, gathering, now) and now <= gathering.since + record.task.parameters.gather_s:
        return [secure.max_members] * (gathering.waiting // secure.max_members)
    splits = (_evenly(gathering.waiting, secure.max_members), _in_full_groups(gathering.waiting, secure.max_members))
    return max(([size for size in sizes if _is_safe(size, secure)] for sizes in splits), key=sum)


def form_groups(connection: Connection, record: RoundRecord, now: float) -> None:
    """Forms the groups that are to be formed now, in a transaction that locked the population.

    Guarantees:
      Who is put together with whom is drawn at random: it tells nothing of when a device came. Devices that sent keys
      of another one are put out, and never in a group.
    """
    sizes = group_sizes(record, secure_groups.gathering(connection, record.id), now)
    if not sizes:
        return
    listed = secure_groups.list_waiting(connection, record.id)
    waiting = [(assignment_id, decode(bundle, KeyBundle)) for assignment_id, bundle in listed]
    secrets.SystemRandom().shuffle(waiting)
    copied = _copied(waiting)
    if copied:
        secure_groups.drop_members(connection, copied)
        return  # fewer wait now, so the sizes may be others
    for size in sizes:
        chosen, waiting = waiting[:size], waiting[size:]
        _form(connection, record, chosen, now)


def _form(connection: Connection, record: RoundRecord, chosen: Sequence[Waiting], now: float) -> None:
    plan, task = record.task.plan, task_of(record)
    secure = plan.secure_aggregation
    size = None if secure is None else _graph(len(chosen), secure)
    if secure is None or size is None:
        raise RuntimeError("groups must be of a size for which there is a graph")
    parameters = GroupParameters(
        degree=size.degree, threshold=size.threshold, value_bits=secure.value_bits, vector_length=plan.update_size
    )
    least = terms_of(plan, task).least_survivors(len(chosen))
    group = server.form_group(task, parameters, least, (bundle for _, bundle in chosen))
    if isinstance(group, GroupFailed):
        raise RuntimeError(f"a group of a safe size must be formed, but {group.reason}")  # noqa: TRY004
    assignment_of = {bundle.identity_key: assignment_id for assignment_id, bundle in chosen}
    formed = GroupRecord(
        id=secrets.token_hex(16),
        round_id=record.id,
        stage=Stage.SHARING,
        ends_at=now + record.task.parameters.stage_timeout_s,
        members=len(chosen),
        awaited=len(chosen),
        answered=0,
    )
    places = [assignment_of[bundle.identity_key] for bundle in group.bundles]
    secure_groups.add_group(connection, formed, encode(group), places, now)
    log_event("group_formed", round=record.id, group=formed.id, members=len(chosen), degree=size.degree)


def _all_have_come(record: RoundRecord, gathering: Gathering, now: float) -> bool:
    """Whether no device can join those that wait: all that were selected did, or it is too late for the others."""
    state = record.state
    all_came = state.phase is Phase.REPORTING and gathering.advertised >= state.selected
    return all_came or now > state.deadline_at


def _evenly(num_devices: int, max_members: int) -> list[int]:
    count = -(-num_devices // max_members)
    return [(num_devices + place) // count for place in range(count)]


def _in_full_groups(num_devices: int, max_members: int) -> list[int]:
    return [max_members] * (num_devices // max_members) + [num_devices % max_members]


def _is_safe(size: int, secure: SecureAggregationParameters) -> bool:
    return size >= secure.min_members and _graph(size, secure) is not None


def _graph(num_members: int, secure: SecureAggregationParameters) -> GraphSize | None:
    """The graph of a group of this size; None if none would be safe."""
    try:
        return size_group(
            num_members,
            adversary_fraction=secure.adversary_fraction,
            dropout_fraction=secure.dropout_fraction,
            mode=secure.mode,
        )
    except NoSafeGraph:
        return None


def _copied(waiting: Iterable[Waiting]) -> list[str]:
    """Assignments of those who have a key or a self-mask in common with one before them, or the same one twice."""
    seen: set[bytes] = set()
    copied = []
    for assignment_id, bundle in waiting:
        names = {bundle.identity_key, bundle.mask_key, bundle.encryption_key, bundle.self_mask_digest}
        if len(names) < 4 or names & seen:
            copied.append(assignment_id)
        seen |= names
    return copied
