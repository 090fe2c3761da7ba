"""Clipping that adapts, from round to round: what a sum says of the norms moves the norm of the next round.

A round has one norm from its opening to its end: it stands in the plan that its manifest names. The next one is stored
in the transaction that books the sum: whatever dies later, no count moves the norm twice, and none is used unbooked.
"""

from sqlalchemy import Connection

from aggregation_service.privacy.adaptive_clipping import WrongClippingState, adapt
from aggregation_service.rounds.accumulator import SumArray
from aggregation_service.storage import clipping_states
from aggregation_service.storage.rounds import RoundRecord
from protocol.errors import MalformedMessage
from protocol.plan import PrivacyParameters
from protocol.update import ScaledUpdate


def check_bit(update: ScaledUpdate, privacy: PrivacyParameters) -> None:
    """Checks that a plain report whose plan counts ends in a bit: so a device that lies counts three times at most.

    Under secure aggregation nobody sees a bit, and a lie is bounded by the norm of the whole report.

    Raises:
      MalformedMessage: it is three times as large as an honest one; 16 bits a value may double it at most.

    """
    if privacy.count_noise is not None and abs(update.scale * float(update.values[-1])) > 1.5 * privacy.bit_per_device:
        raise MalformedMessage("a report must end in a bit, +-1/2 in units of the plan")


def book_next_norm(connection: Connection, record: RoundRecord, total: SumArray) -> None:
    """Moves a task's clipping norm by the count in a noised sum; does nothing where clipping does not adapt.

    Args:
      connection: the transaction that books the sum.
      record: the round.
      total: float64 [update_size], noised; its last coordinate counts who was within the norm.

    Raises:
      WrongClippingState: the stored norm is not this round's, not this task's, or cannot be read.

    """
    task, clipping = record.task, clipping_states.clipping_of(record.task)
    if clipping is None:
        return
    state, privacy = clipping_states.find_state(connection, task, clipping), task.plan.privacy
    if state.l2_clip_norm != privacy.l2_clip_norm:
        raise WrongClippingState(
            f"the norm of task {task.id} must be its round's, {privacy.l2_clip_norm}, got {state.l2_clip_norm}"
        )
    noised_bits = float(total[-1]) / privacy.bit_per_device
    clipping_states.put_state(connection, task, adapt(state, clipping, noised_bits, privacy.report_goal))
