"""What a rehearsal writes down while it lives: counts, by device and in all. It can be saved and taken up again."""

from collections.abc import Mapping

import msgspec

from device_runtime.rounds.outcome import Event
from emulator.device import EmulatedDevice, StepResult
from emulator.person import Typed, add_typed

_PHASES = {
    Event.SELECTED: "selected",
    Event.CONFIGURED: "configured",
    Event.TRAINED: "trained",
    Event.EVALUATED: "trained",
    Event.ADVERTISED: "in session",
    Event.SHARED: "in session",
    Event.MASKED: "in session",
    Event.CONFIRMED: "in session",
}
"""The phase that a device is in after an event of a round."""
_MOST_REASONS = 20
_LOST = (Event.EXPIRED, Event.REFUSED, Event.REJECTED, Event.GROUP_ENDED, Event.NOTHING_TO_TRAIN, Event.NO_CONSENT)
_GOES_ON = frozenset(_PHASES) - {Event.SELECTED} | {
    Event.REPORTED, Event.AWAITING_GROUP, Event.NOT_ELIGIBLE, Event.UNAVAILABLE, Event.FAILED, Event.INTERRUPTED,
    Event.WAITING,
}  # fmt: skip


class DeviceCounts(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One device's part."""

    selected: int = 0
    reported: int = 0
    refused: int = 0
    keystrokes: int = 0
    saved: int = 0
    phase: str = ""
    is_interrupted: bool = False


class Observations(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """All that the fleet's report needs of the fleet.

    Attributes:
      events: how often each outcome came.
      devices: by index; only those that ever acted within a round or had words followed.
      drop_outs: by `phase: because`.
      refused: how often devices refused what the service said, by the sentence with which they did.
      live: by day.
      bytes_up, bytes_down: in all steps.
      training_steps, training_device_s: of training runs that ended well.
      steps, device_cpu_s, training_cpu_s: of this machine.

    """

    events: dict[str, int] = {}
    devices: dict[int, DeviceCounts] = {}
    drop_outs: dict[str, int] = {}
    refused: dict[str, int] = {}
    live: dict[int, Typed] = {}
    bytes_up: int = 0
    bytes_down: int = 0
    training_steps: int = 0
    training_device_s: float = 0.0
    steps: int = 0
    device_cpu_s: float = 0.0
    training_cpu_s: float = 0.0

    def see(self, device: EmulatedDevice, result: StepResult) -> None:
        """Takes note of one step."""
        outcome = result.outcome
        self.steps += 1
        self.device_cpu_s += result.cpu_s
        for moved in (outcome, result.release):
            if moved is not None:
                self.events[moved.event.value] = self.events.get(moved.event.value, 0) + 1
                self.bytes_up += moved.bytes_up
                self.bytes_down += moved.bytes_down
        if outcome.event is Event.TRAINED:
            steps = int(outcome.numbers["steps"])
            self.training_steps += steps
            self.training_device_s += steps * device.hardware.seconds_per_step
            self.training_cpu_s += result.cpu_s
        if outcome.event is Event.REFUSED:
            why = outcome.reason if outcome.reason in self.refused or len(self.refused) < _MOST_REASONS else "others"
            self.refused[why] = self.refused.get(why, 0) + 1
        self._follow(device.index, outcome.event)
        for typed in result.typed:
            self._hear(device.index, typed)

    def _of(self, index: int) -> DeviceCounts:
        return self.devices.setdefault(index, DeviceCounts())

    def _follow(self, index: int, event: Event) -> None:
        """Where a device is in its round; an interruption is a loss only if the device does not go on."""
        if index not in self.devices and event not in (Event.SELECTED, Event.REJECTED, Event.REFUSED):
            return
        counts = self._of(index)
        if event is Event.REJECTED or event is Event.REFUSED:
            counts.refused += 1
        if counts.phase and event not in _GOES_ON:
            because = event.value if event in _LOST and not counts.is_interrupted else Event.INTERRUPTED.value
            key = f"{counts.phase}: {because}"
            self.drop_outs[key] = self.drop_outs.get(key, 0) + 1
            counts.phase = ""
        counts.is_interrupted = event is Event.INTERRUPTED
        counts.selected += event is Event.SELECTED
        if event is Event.REPORTED:
            counts.reported += 1
            counts.phase = ""
        counts.phase = _PHASES.get(event, counts.phase)

    def _hear(self, index: int, typed: Typed) -> None:
        before = self.live.get(typed.day, Typed(day=typed.day))
        self.live[typed.day] = add_typed(before, typed)
        if typed.keystrokes:
            counts = self._of(index)
            counts.keystrokes += typed.keystrokes
            counts.saved += typed.saved


def totals(devices: Mapping[int, DeviceCounts], indices: list[int]) -> DeviceCounts:
    """The sums over some devices."""
    chosen = [devices[index] for index in indices if index in devices]
    names = ("selected", "reported", "refused", "keystrokes", "saved")
    return DeviceCounts(**{name: sum(getattr(each, name) for each in chosen) for name in names})
