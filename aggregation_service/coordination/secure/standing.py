"""Where a device stands in a round of secure aggregation, as one request finds it."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from aggregation_service.coordination.tickets import token_sha256
from aggregation_service.identity.caller import Caller
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.storage import rounds, secure_groups
from aggregation_service.storage.rounds import Assignment, RoundRecord
from aggregation_service.storage.secure_groups import GroupRecord, Member


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A device that was selected into a round whose plan wants secure aggregation.

    Attributes:
      caller: who asks.
      record: the round.
      assignment: the device's.
      member: None until it has advertised keys.
      group: None until it is in one.
      sent: SHA-256 of what it sent, by stage.

    """

    caller: Caller
    record: RoundRecord
    assignment: Assignment
    member: Member | None
    group: GroupRecord | None
    sent: Mapping[str, bytes]

    @property
    def poll_s(self) -> int:
        """After how many seconds the device may ask again."""
        return self.record.task.parameters.poll_s

    @property
    def place(self) -> int:
        """The member's index in its group's roster.

        Raises:
          Refused: WRONG_STAGE: it is in none yet.

        """
        if self.member is None or self.member.place is None:
            raise too_early()
        return self.member.place

    def may_advertise(self, now: float) -> bool:
        """Whether the round still takes keys."""
        state = self.record.state
        return state.takes_reports and not state.has_its_goal and now <= state.deadline_at


def read_standing(connection: Connection, *, round_id: str, assignment_id: str, token: str, caller: Caller) -> Standing:
    """Reads where a device stands.

    Raises:
      Refused: unknown assignment, wrong token, another device's assignment, or a round whose reports are plain.

    """
    assignment = rounds.find_assignment(connection, round_id, assignment_id)
    record = rounds.find_round(connection, round_id)
    if assignment is None or record is None:
        raise Refused(RefusalKind.UNKNOWN_ASSIGNMENT, "there is no such assignment in this round")
    if not hmac.compare_digest(token_sha256(token), assignment.token_sha256):
        raise Refused(RefusalKind.WRONG_TOKEN, "the token is not this assignment's")
    caller.check_device(assignment.device_id)
    if record.task.plan.secure_aggregation is None:
        raise Refused(RefusalKind.WRONG_AGGREGATION, "the round's plan wants plain reports")
    return _standing(connection, caller, record, assignment)


def reread(connection: Connection, standing: Standing) -> Standing:
    """The same as it is now, in a transaction that locked the population.

    Raises:
      Refused: GROUP_ENDED: the round is gone.

    """
    record = rounds.find_round(connection, standing.record.id)
    if record is None:
        raise ended()
    return _standing(connection, standing.caller, record, standing.assignment)


def _standing(connection: Connection, caller: Caller, record: RoundRecord, assignment: Assignment) -> Standing:
    member = secure_groups.find_member(connection, assignment.id)
    group = None
    if member is not None and member.group_id is not None:
        group = secure_groups.find_group(connection, member.group_id)
    sent = secure_groups.list_sent(connection, [assignment.id])
    return Standing(
        caller=caller,
        record=record,
        assignment=assignment,
        member=member,
        group=group,
        sent={stage: sha256 for (_, stage), sha256 in sent.items()},
    )


def ended() -> Refused:
    """The refusal of a device that is not in its group any more."""
    return Refused(RefusalKind.GROUP_ENDED, "the device is not in the group any more, or the group has ended")


def too_early() -> Refused:
    """The refusal of what is not due yet."""
    return Refused(RefusalKind.WRONG_STAGE, "the device must first send what the stages before ask of it")


def changed() -> Refused:
    """The refusal of a second message of a stage that is another than the first."""
    return Refused(RefusalKind.CHANGED_MESSAGE, "the device sent another message at this stage, and one counts")
