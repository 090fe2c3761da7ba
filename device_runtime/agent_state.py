"""What an agent remembers: one small file, so that any process can go on where the last one stopped."""

import secrets
from pathlib import Path
from typing import Literal

import msgspec

from device_runtime.storage import private_directory, write_atomically
from protocol.messages import Identifier, Seconds, Selected


class DamagedState(Exception):
    """A state file that cannot be read.

    It is not replaced by a fresh one: that would forget how old a model may be and when this device last took part.
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
    """The clipped update lies sealed in the spool; `minimum_separation_s` is the plan's."""

    selected: Selected
    deadline: Timer
    minimum_separation_s: Seconds


Phase = Waiting | Assigned | Configured | Trained


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

    """

    format_version: Literal[1] = 1
    device_id: Identifier
    newest_model_version: int = 0
    pause: Timer = Timer()
    separation: Timer = Timer()
    failures: int = 0
    phase: Phase = Waiting()
    rounds_reported: int = 0

    def settled(self, now: float) -> "AgentState":
        """The state after a look at the clock, which may have been turned back."""
        phase = self.phase
        if not isinstance(phase, Waiting):
            phase = msgspec.structs.replace(phase, deadline=phase.deadline.settled(now))
        return msgspec.structs.replace(
            self, pause=self.pause.settled(now), separation=self.separation.settled(now), phase=phase
        )


class StateFile:
    """The file that holds an agent's state; written whole or not at all."""

    def __init__(self, path: Path):
        self._path = path

    def load(self) -> AgentState:
        """Reads the state, or begins a new one under a new device id.

        Raises:
          DamagedState: the file is there but is no state.

        """
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=AgentState)
        except FileNotFoundError:
            return AgentState(device_id=secrets.token_hex(16))
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise DamagedState(f"state file {self._path} must be the agent's, got something unreadable") from None

    def save(self, state: AgentState) -> None:
        """Replaces the state."""
        private_directory(self._path.parent)
        write_atomically(self._path, msgspec.json.encode(state))
