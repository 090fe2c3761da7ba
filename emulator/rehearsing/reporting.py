"""The report of a rehearsal: what the service's books and the fleet's observations say, put together."""

from collections.abc import Sequence

from aggregation_service import operations
from aggregation_service.config import ServiceConfig
from aggregation_service.rounds.state import Phase
from aggregation_service.summaries import PopulationSummary, RoundSummary
from emulator.adversaries.kinds import kind_of
from emulator.device import EmulatedDevice
from emulator.person import Typed
from emulator.rehearsing.saved import Saved
from emulator.rehearsing.watching import totals
from emulator.scenarios.schema import Scenario
from emulator.trace import HOUR_S
from evaluation.fleet import outcome as schema
from evaluation.report import software_versions

_SAMPLE_S = 1.5 * HOUR_S
_MOST_SAMPLES = 400


def make_fleet_report(
    scenario: Scenario,
    name: str,
    config: ServiceConfig,
    devices: Sequence[EmulatedDevice],
    saved: Saved,
    *,
    before: dict[str, tuple[float, int]],
    is_reproducible: bool,
    is_real_time: bool = False,
    is_of_phone: bool = False,
) -> schema.FleetReport:
    """Puts a rehearsal that has ended into a report.

    Args:
      scenario: that was lived.
      name: of the scenario.
      config: of the service, whose database is read.
      devices: of the fleet.
      saved: what was written down.
      before: recall before the first round, and of how many words, by population.
      is_reproducible: see `FleetReport`; likewise the next two.
      is_real_time: see there.
      is_of_phone: see there.

    """
    summaries = {each.population: each for each in operations.summaries(config)}
    seen = saved.observations
    return schema.FleetReport(
        scenario=name,
        about=scenario.about,
        seed=scenario.seed,
        days=scenario.days,
        devices=scenario.devices,
        is_reproducible=is_reproducible,
        is_real_time=is_real_time,
        is_of_phone=is_of_phone,
        populations=tuple(
            _population(summaries[each.name], before[each.name], saved.recall.get(each.name, {}))
            for each in scenario.populations
        ),
        rounds=tuple(
            _round(each.name, summary, saved)
            for each in scenario.populations
            for summary in summaries[each.name].rounds
            if summary.selected
        ),
        events=dict(sorted(seen.events.items(), key=lambda item: (-item[1], item[0]))),
        drop_outs=tuple(_drop_out(key, number) for key, number in sorted(seen.drop_outs.items())),
        fairness=_fairness(scenario, devices, saved, is_foreseen=not is_of_phone),
        live=tuple(_day(seen.live[day]) for day in sorted(seen.live)),
        adversaries=_adversaries(scenario, devices, saved),
        refused=dict(sorted(seen.refused.items(), key=lambda item: (-item[1], item[0]))),
        traffic=schema.Traffic(
            bytes_up=seen.bytes_up,
            bytes_down=seen.bytes_down,
            training_steps=seen.training_steps,
            training_device_s=seen.training_device_s,
        ),
        happened=tuple(saved.happened),
        software=software_versions(),
    )


def make_timings(saved: Saved) -> schema.Timings:
    """What this machine took."""
    seen = saved.observations
    return schema.Timings(
        seconds=saved.seconds,
        device_cpu_s=seen.device_cpu_s,
        training_cpu_s=seen.training_cpu_s,
        steps=seen.steps,
    )


def _population(
    summary: PopulationSummary, before: tuple[float, int], recall: dict[int, float]
) -> schema.FleetPopulation:
    return schema.FleetPopulation(
        name=summary.population,
        devices=summary.devices,
        top1_before=before[0],
        top1_after=recall[max(recall)] if recall else before[0],
        targets=before[1],
        epsilon=summary.epsilon,
        delta=summary.delta,
        max_participations=summary.max_participations,
        refusals=dict(sorted(summary.refusals.items())),
        groups=dict(sorted(summary.groups.items())),
    )


def _round(population: str, summary: RoundSummary, saved: Saved) -> schema.FleetRound:
    is_closed = summary.phase is Phase.CLOSED
    made = saved.recall.get(population, {}).get(summary.model_version + 1)
    return schema.FleetRound(
        population=population,
        number=summary.number,
        opened_h=(summary.opened_at - saved.start) / HOUR_S,
        duration_h=None if summary.closed_at is None else max(0.0, summary.closed_at - summary.opened_at) / HOUR_S,
        phase=summary.phase.value,
        because="" if summary.abandoned_because is None else summary.abandoned_because.value,
        selected=summary.selected,
        reported=summary.reported,
        top1=made if is_closed else None,
        epsilon=summary.epsilon,
        bytes_up=summary.bytes_up,
    )


def _drop_out(key: str, number: int) -> schema.DropOut:
    phase, _, because = key.partition(": ")
    return schema.DropOut(phase=phase, because=because.replace("_", " "), devices=number)  # type: ignore[arg-type]


def _day(typed: Typed) -> schema.LiveDay:
    return schema.LiveDay(
        day=typed.day,
        messages=typed.messages,
        words=typed.words,
        accepted_share=typed.accepted / typed.words if typed.words else None,
        saved_share=typed.saved / typed.keystrokes if typed.keystrokes else None,
    )


def _fairness(
    scenario: Scenario, devices: Sequence[EmulatedDevice], saved: Saved, *, is_foreseen: bool
) -> tuple[schema.FairnessGroup, ...]:
    """The faster and the slower half of the fleet, and the half that may act more often and the other."""
    if len(devices) < 2:
        return ()
    half = len(devices) // 2
    speed = {device.index: device.hardware.seconds_per_step for device in devices}
    by_speed = sorted(speed, key=lambda index: (speed[index], index))
    groups = {"fast": by_speed[:half], "slow": by_speed[half:]}
    eligible: dict[int, float] = {}
    if is_foreseen:
        eligible = {device.index: _eligible_share(device, scenario, saved.start) for device in devices}
        by_time = sorted(eligible, key=lambda index: (-eligible[index], index))
        groups |= {"often available": by_time[:half], "rarely available": by_time[half:]}
    return tuple(_group(name, indices, speed, eligible, saved) for name, indices in groups.items())


def _group(
    name: str, indices: list[int], speed: dict[int, float], eligible: dict[int, float], saved: Saved
) -> schema.FairnessGroup:
    sums, number = totals(saved.observations.devices, indices), len(indices)
    return schema.FairnessGroup(
        name=name,
        devices=number,
        seconds_per_step=sum(speed[index] for index in indices) / number,
        eligible_share=sum(eligible[index] for index in indices) / number if eligible else None,
        selected=sums.selected / number,
        reported=sums.reported / number,
        keystrokes_saved=sums.saved / sums.keystrokes if sums.keystrokes else None,
    )


def _eligible_share(device: EmulatedDevice, scenario: Scenario, start: float) -> float:
    """By samples, evenly over the scenario's time."""
    length_s = scenario.days * 24 * HOUR_S
    samples = max(1, min(_MOST_SAMPLES, round(length_s / _SAMPLE_S)))
    times = (start + length_s * (place + 0.5) / samples for place in range(samples))
    return sum(device.trace.conditions(at).eligible for at in times) / samples


def _adversaries(
    scenario: Scenario, devices: Sequence[EmulatedDevice], saved: Saved
) -> tuple[schema.AdversaryGroup, ...]:
    if not scenario.adversaries:
        return ()
    groups: dict[str, list[int]] = {}
    for device in devices:
        groups.setdefault(kind_of(device.adversary), []).append(device.index)
    made = []
    for kind in sorted(groups):
        sums = totals(saved.observations.devices, groups[kind])
        made.append(
            schema.AdversaryGroup(kind=kind, devices=len(groups[kind]), reported=sums.reported, refused=sums.refused)
        )
    return tuple(made)
