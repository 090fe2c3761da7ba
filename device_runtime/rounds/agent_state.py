"""What an agent remembers: one small file, so that any process can go on where the last one stopped."""

import secrets
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

from device_runtime.storage.files import private_directory, write_atomically
from protocol.messages import Identifier, Seconds, Selected

LOST_SEPARATION_S = 30 * 24 * 3600.0
"""Minimum separation of a device that no longer knows when it last took part: longer than plans ask for."""

MAX_ADVERTISED_ROUNDS = 64
"""Rounds of secure aggregation that a device remembers.

Honest ids, 16 random bytes, never repeat: only a service that offers a round again meets the bound. Whoever has sent a
masked input checks in no more before the minimum separation is over, so a round that was forgotten gets no second one
sooner than another round would get it; sessions that ended earlier made the list longer, but were told nothing.
"""

_LONGEST_S = 366 * 24 * 3600.0  # of `Seconds`

EnrolmentState = Literal["not_yet", "enrolled", "refused", "revoked"]
"""What the service last said about this device's key."""

FileT = TypeVar("FileT")


class DamagedState(Exception):
    """A state file that cannot be read.

    It is never just replaced by a fresh one, which would forget how old a model may be and when this device last took
    part; see `StateFile.set_aside`.
    """


class Timer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A wait that survives restarts and clocks that jump.

    A duration with its beginning, instead of an end: after a jump backwards the wait begins again (`settled`) and so
    never lasts longer than it was meant to, counted from the jump.
    """

    started_at: float = 0.0
    duration_s: Seconds = 0.0

    def remaining_s(self, now: float) -> float:
        """Seconds left, in [0, duration_s]."""
        return min(max(self.started_at + self.duration_s - now, 0.0), self.duration_s)

    def settled(self, now: float) -> "Timer":
        """The timer, begun again if it seems to have begun in the future."""
        return self if self.started_at <= now else Timer(now, self.duration_s)

    def prolonged(self, by_s: float) -> "Timer":
        """The timer with so much more, as far as `Seconds` go."""
        return Timer(self.started_at, min(self.duration_s + by_s, _LONGEST_S))


class Waiting(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="waiting"):
    """No assignment."""


class Assigned(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="assigned"):
    """Selected into a round; nothing is downloaded yet."""

    selected: Selected
    deadline: Timer


class Configured(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="configured"):
    """The round's files are verified and cached."""

    selected: Selected
    deadline: Timer


class Trained(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="trained"):
    """The clipped update lies sealed in the spool; `minimum_separation_s` is the plan's.

    Where `is_secure`, as integers that only a session of secure aggregation is given, else as a report.
    """

    selected: Selected
    deadline: Timer
    minimum_separation_s: Seconds
    is_secure: bool = False


class Advertised(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="advertised"):
    """The service may have keys of a session; the session itself is in the memory of the process that made them."""

    selected: Selected
    deadline: Timer
    minimum_separation_s: Seconds


AdvertisedRounds = Annotated[tuple[Identifier, ...], msgspec.Meta(max_length=MAX_ADVERTISED_ROUNDS)]
Phase = Waiting | Assigned | Configured | Trained | Advertised


class AgentState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything an agent knows between two steps.

    Attributes:
      device_id: 128 random bits, different in every population.
      newest_model_version: of the models accepted so far; older ones are refused.
      pause: nothing happens before it is over: the service's reconnect window, or the wait after a failure.
      separation: the device's own minimum separation: no new round before it is over, whatever the service says.
      failures: in a row, for the backoff.
      phase: where in a round the agent is.
      rounds_reported: reports that the service acknowledged.
      enrolment: whether the service knows this device's key; it is asked until it does.
      advertised_rounds: the newest rounds in which keys for secure aggregation were sent, oldest first: a second
        session in one is refused.

    """

    format_version: Literal[1] = 1
    device_id: Identifier
    newest_model_version: int = 0
    pause: Timer = Timer()
    separation: Timer = Timer()
    failures: int = 0
    phase: Phase = Waiting()
    rounds_reported: int = 0
    enrolment: EnrolmentState = "not_yet"
    advertised_rounds: AdvertisedRounds = ()

    def settled(self, now: float) -> "AgentState":
        """The state after a look at the clock, which may have been turned back."""
        phase = self.phase
        if not isinstance(phase, Waiting):
            phase = msgspec.structs.replace(phase, deadline=phase.deadline.settled(now))
        return msgspec.structs.replace(
            self, pause=self.pause.settled(now), separation=self.separation.settled(now), phase=phase
        )

    def rounds_with(self, round_id: str) -> tuple[str, ...]:
        """`advertised_rounds` with one more, without the oldest where they would be too many."""
        return (*self.advertised_rounds, round_id)[-MAX_ADVERTISED_ROUNDS:]


class _StoredState(AgentState, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A state as a file may hold it: older ones name the last round of secure aggregation only."""

    secure_round: Identifier | None = None

    def read(self) -> AgentState:
        fields = {name: getattr(self, name) for name in AgentState.__struct_fields__}
        if self.secure_round is not None:
            fields["advertised_rounds"] = self.rounds_with(self.secure_round)
        return AgentState(**fields)


class Promises(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must outlive a damaged state, since others rely on it. The fields are those of `AgentState`."""

    format_version: Literal[1] = 1
    device_id: Identifier
    newest_model_version: int = 0
    separation: Timer = Timer()
    advertised_rounds: AdvertisedRounds = ()


class StateFile:
    """The file that holds an agent's state; written whole or not at all.

    A second file beside it, `promises.json`, repeats what privacy and safety rest on. It is written first.
    """

    def __init__(self, path: Path):
        self._path = path
        self._promises_path = path.with_name("promises.json")

    def load(self) -> AgentState:
        """Reads the state; where there is none, begins one by what was promised before, or under a new device id.

        Raises:
          DamagedState: a file is there but is not what it should be.

        """
        stored = _read(self._path, _StoredState)
        if stored is not None:
            return stored.read()
        promises = _read(self._promises_path, Promises)
        if promises is None:
            return AgentState(device_id=secrets.token_hex(16))
        return AgentState(
            device_id=promises.device_id,
            newest_model_version=promises.newest_model_version,
            separation=promises.separation,
            advertised_rounds=promises.advertised_rounds,
        )

    def save(self, state: AgentState) -> None:
        """Replaces the state."""
        private_directory(self._path.parent)
        self._promise(
            Promises(
                device_id=state.device_id,
                newest_model_version=state.newest_model_version,
                separation=state.separation,
                advertised_rounds=state.advertised_rounds,
            )
        )
        write_atomically(self._path, msgspec.json.encode(state))

    def set_aside(self, now: float) -> Path:
        """Puts a damaged state out of the way, so that `load` can begin a new one.

        Where the promises are lost too, the device promises `LOST_SEPARATION_S` from now under a new id: it may have
        taken part a moment ago. May be killed anywhere and called again.

        Returns:
          Where the damaged file lies now.

        """
        try:
            promises = _read(self._promises_path, Promises)
        except DamagedState:
            promises = None
        if promises is None:
            self._promise(Promises(device_id=secrets.token_hex(16), separation=Timer(now, LOST_SEPARATION_S)))
        target = self._path.with_name(f"{self._path.name}.damaged-{now:.0f}")
        with suppress(FileNotFoundError):
            self._path.rename(target)
        return target

    def _promise(self, promises: Promises) -> None:
        with suppress(DamagedState):
            if _read(self._promises_path, Promises) == promises:
                return
        write_atomically(self._promises_path, msgspec.json.encode(promises))


def _read(path: Path, kind: type[FileT]) -> FileT | None:
    """The content of one of the two files, or None if it is absent."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise DamagedState(f"state file {path} must be the agent's, got something unreadable") from None
