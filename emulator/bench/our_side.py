"""Our side of the fleet benchmark: emulated devices with the real runtime, and the real service as a process.

A round lasts from the moment at which it is asked for until the service has the new model. Between two of them nothing
is under way, for the plan's separation keeps every device away so long.
"""

import dataclasses
import sys
import time
from pathlib import Path

import msgspec

from aggregation_service import operations
from aggregation_service.clock import set_file_clock
from aggregation_service.config import UNLIMITED, ServiceConfig, load_config, render_config
from aggregation_service.rounds.optimizer import ServerAverage
from aggregation_service.rounds.parameters import RoundParameters
from device_runtime.rounds.outcome import Event
from emulator.bench.answering import Asked, Round
from emulator.bench.local_work import GRAPH_FILE, TEXTS_FILE, VOCABULARY_FILE, Setting, read_weights
from emulator.device import EmulatedDevice, StepResult, World, make_device
from emulator.fleet import Fleet
from emulator.service_process import running_service
from emulator.trace import HOUR_S, Intervals, Trace
from emulator.traces.hardware import Hardware
from protocol.clipping import l2_norm
from protocol.plan import Plan, PrivacyParameters
from protocol.weights import flatten

_POPULATION = "english"
_START = 1_767_571_200.0
_ALWAYS = Intervals(((0.0, 2 * _START),))
_LASTS_DAYS = 30
_APART_S = 5.0
"""Nobody's devices fall idle at one instant: so far apart that some train while others speak, in each round anew."""


class Watch:
    """Asked by the fleet after each step: answers for a round that has closed, then waits to be asked again."""

    def __init__(self, config: ServiceConfig, setting: Setting, asked: Asked):
        self._config = config
        self._setting = setting
        self._asked = asked
        self._version, self._weights = operations.current_checkpoint(config, _POPULATION)
        self._reported = self._steps = 0
        self._began = time.perf_counter()

    def __call__(self, result: StepResult) -> bool:
        """Whether no more is asked."""
        outcome = result.outcome
        self._steps += int(outcome.numbers["steps"]) if outcome.event is Event.TRAINED else 0
        self._reported += outcome.event is Event.REPORTED
        is_full = self._reported >= self._setting.devices
        if not is_full or operations.current_version(self._config, _POPULATION) == self._version:
            return False
        seconds = time.perf_counter() - self._began
        self._asked.answer(Round(seconds=seconds, steps=self._steps, update_norm=self._moved()))
        self._reported = self._steps = 0
        is_asked = self._asked.again()
        self._began = time.perf_counter()
        return not is_asked

    def _moved(self) -> float:
        before, specs = self._weights, self._setting.preset.shape.tensors
        self._version, self._weights = operations.current_checkpoint(self._config, _POPULATION)
        return l2_norm(flatten(self._weights, specs) - flatten(before, specs))


def make_service(setting: Setting, work: Path, folder: Path, clock_path: Path) -> Path:
    """Makes a service with one task, whose rounds take all devices and add no noise; its sums are of plain updates.

    Returns:
      The path of its configuration.

    """
    paths = operations.initialise(folder, clock_path=clock_path)
    config = dataclasses.replace(
        load_config(paths.config_path), address_rate_limit=UNLIMITED, device_rate_limit=UNLIMITED
    )
    paths.config_path.write_text(render_config(config), encoding="utf-8")
    operations.add_population(config, _POPULATION)
    preset = setting.preset
    privacy = PrivacyParameters(
        l2_clip_norm=preset.l2_clip_norm,
        noise_multiplier=0,
        report_goal=setting.devices,
        minimum_separation_s=HOUR_S,
    )
    operations.create_task(
        config,
        population=_POPULATION,
        plan=Plan(tensors=preset.shape.tensors, training=setting.training, privacy=privacy),
        training_graph=(work / GRAPH_FILE).read_bytes(),
        checkpoint=read_weights(work),
        parameters=RoundParameters(minimum_reports=setting.devices, over_selection=1, report_deadline_s=HOUR_S),
        optimizer=ServerAverage(),
        vocabulary=(work / VOCABULARY_FILE).read_bytes(),
    )
    return paths.config_path


def make_devices(setting: Setting, work: Path, folder: Path) -> list[EmulatedDevice]:
    """Devices that may always act, with their typing logs on disk."""
    training = setting.training
    devices = []
    for index, texts in enumerate(msgspec.json.decode((work / TEXTS_FILE).read_bytes(), type=list[list[str]])):
        device = EmulatedDevice(
            index=index,
            folder=folder / f"{index:05d}",
            trace=Trace(idle=_ALWAYS, charging=_ALWAYS, unmetered=_ALWAYS),
            hardware=Hardware(runtime=setting.runtime),
            least_steps=setting.words // (training.batch_size * training.sequence_length),
        )
        make_device(device, texts, now=_START)
        devices.append(device)
    return devices


def main() -> None:
    """Arguments: the setting as JSON, and the folder of the local work, in which the world is made."""
    asked = Asked()
    setting, work = msgspec.json.decode(sys.argv[1], type=Setting), Path(sys.argv[2])
    world = work / "world"
    world.mkdir()
    clock_path = world / "clock"
    set_file_clock(clock_path, _START)
    config_path = make_service(setting, work, world / "service", clock_path)
    config = load_config(config_path)
    devices = make_devices(setting, work, world / "devices")
    token = operations.create_enrolment_token(config, _POPULATION, uses=len(devices), days=_LASTS_DAYS).token
    with running_service(config_path, world / "service.log") as service:
        shared = World(
            service_url=service.url,
            population=_POPULATION,
            public_key=operations.public_key(config),
            enrolment_token=token,
            vocabulary_path=work / VOCABULARY_FILE,
        )
        fleet = Fleet(
            shared,
            devices,
            start=_START,
            clock_path=clock_path,
            seed=setting.seed,
            vanish_rate=0.0,
            num_workers=setting.workers,
            wake_at=[_START + _APART_S * device.index for device in devices],
        )
        if asked.again():
            fleet.run(Watch(config, setting, asked))


if __name__ == "__main__":
    main()
