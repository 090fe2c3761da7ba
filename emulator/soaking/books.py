"""What the service's books say: rounds that ended, weights, releases."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from aggregation_service.privacy.ledger import GaussianSumReleased, decode_event
from aggregation_service.privacy.ledger_chain import LedgerRow
from aggregation_service.storage import books, models
from aggregation_service.storage.files import find_content
from aggregation_service.storage.tables import assignments, checkpoints, rounds
from protocol.arrays import FloatArray
from protocol.plan import TensorSpec
from protocol.weights import decode_checkpoint, flatten

_ENDED = ("closed", "abandoned")


@dataclass(frozen=True, kw_only=True)
class EndedRound:
    """A round that was closed, or abandoned.

    Attributes:
      id: of the round.
      number: from 1.
      is_closed: whether it was closed; then the next model version is its result.
      because: why it was abandoned, as the books say.
      model_version: with which it began.
      selected: devices.
      reported: reports, as the round's own row says.
      counted: assignments that are marked as reported.
      duration_s: virtual.

    """

    id: str
    number: int
    is_closed: bool
    because: str
    model_version: int
    selected: int
    reported: int
    counted: frozenset[str]
    duration_s: float


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The population's releases.

    Attributes:
      rows: of the whole ledger, for its chain.
      released: round and time of each sum that was released, in order.
      stored: when each model version was stored, in seconds since 1970.
      under_way: rounds that have not ended.

    """

    rows: tuple[LedgerRow, ...]
    released: tuple[tuple[str, float], ...]
    stored: dict[int, float]
    under_way: frozenset[str] = frozenset()


def read_ended(connection: Connection, population: str, after: int) -> list[EndedRound]:
    """The rounds that ended, from number `after` + 1 on; those in which nobody was selected never were."""
    of_rounds = select(rounds).where(rounds.c.population == population, rounds.c.number > after, rounds.c.selected > 0)
    ended = of_rounds.where(rounds.c.phase.in_(_ENDED)).order_by(rounds.c.number)
    return [
        EndedRound(
            id=row.id,
            number=row.number,
            is_closed=row.phase == "closed",
            because=row.abandoned_because or "",
            model_version=row.model_version,
            selected=row.selected,
            reported=row.reported,
            counted=_counted(connection, row.id),
            duration_s=max(0.0, (row.ended_at or row.opened_at) - row.opened_at),
        )
        for row in connection.execute(ended)
    ]


def read_weights(
    connection: Connection, population: str, version: int, specs: tuple[TensorSpec, ...]
) -> FloatArray | None:
    """A model version's weights, float32 [num_weights]; None if it is not kept."""
    checkpoint = models.find_checkpoint(connection, population, version)
    content = None if checkpoint is None else find_content(connection, checkpoint.file_sha256)
    return None if content is None else flatten(decode_checkpoint(content, specs), specs)


def read_ledger(connection: Connection, population: str) -> Ledger:
    """All that the ledger says, and when versions were stored.

    Raises:
      UnknownEvent: a row that this version cannot read.

    """
    rows = books.ledger_rows(connection)
    events = [(decode_event(row.event), row.recorded_at) for row in rows if row.population == population]
    stored = select(checkpoints.c.model_version, checkpoints.c.created_at).where(checkpoints.c.population == population)
    under_way = select(rounds.c.id).where(rounds.c.population == population, rounds.c.phase.not_in(_ENDED))
    return Ledger(
        rows=tuple(rows),
        released=tuple((event.round_id, at) for event, at in events if isinstance(event, GaussianSumReleased)),
        stored={row.model_version: row.created_at for row in connection.execute(stored)},
        under_way=frozenset(connection.scalars(under_way)),
    )


def _counted(connection: Connection, round_id: str) -> frozenset[str]:
    of_round = select(assignments.c.id).where(assignments.c.round_id == round_id, assignments.c.reported)
    return frozenset(connection.scalars(of_round))
