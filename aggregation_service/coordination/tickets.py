"""Tickets: rights to report that were checked before a report's body is read."""

import hashlib
import hmac
from dataclasses import dataclass

from sqlalchemy import Connection

from aggregation_service.identity.caller import Caller
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.storage import rounds
from aggregation_service.storage.rounds import Assignment
from protocol.plan import Plan


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """One device's right to one report. `sealing_key` is the round's, 32 bytes."""

    population: str
    round_id: str
    assignment: Assignment
    plan: Plan
    sealing_key: bytes
    caller: Caller


def check_ticket(
    connection: Connection, *, round_id: str, assignment_id: str, token: str, caller: Caller, now: float
) -> Ticket:
    """Checks that a report would be welcome.

    Raises:
      Refused: unknown assignment, wrong token, another device's assignment, a plan that wants secure aggregation,
        reported already, or too late.

    """
    assignment = rounds.find_assignment(connection, round_id, assignment_id)
    record = rounds.find_round(connection, round_id)
    if assignment is None or record is None:
        raise Refused(RefusalKind.UNKNOWN_ASSIGNMENT, "there is no such assignment in this round")
    if not hmac.compare_digest(token_sha256(token), assignment.token_sha256):
        raise Refused(RefusalKind.WRONG_TOKEN, "the token is not this assignment's")
    caller.check_device(assignment.device_id)
    if record.task.plan.secure_aggregation is not None:
        raise Refused(RefusalKind.WRONG_AGGREGATION, "the round's plan wants secure aggregation, not plain reports")
    if assignment.reported:
        raise duplicate()
    state = record.state
    if not state.takes_reports or state.has_its_goal or now > state.deadline_at or record.sealing_key is None:
        raise too_late()
    return Ticket(
        population=record.population,
        round_id=round_id,
        assignment=assignment,
        plan=record.task.plan,
        sealing_key=record.sealing_key,
        caller=caller,
    )


def token_sha256(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


def duplicate() -> Refused:
    """The refusal of a second report."""
    return Refused(RefusalKind.DUPLICATE_REPORT, "this assignment was reported already, and counts once")


def too_late() -> Refused:
    """The refusal of a report that no sum can take any more."""
    return Refused(RefusalKind.LATE_REPORT, "the round is over")
