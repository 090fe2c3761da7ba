"""A capacity plan: everything put together, as chapters of rows."""

from dataclasses import asdict, fields
from typing import Any

import msgspec

from evaluation.planning.assumptions import Assumptions, source
from evaluation.planning.checking import Check, check_model
from evaluation.planning.costs import Costs, PhaseName, Use, unit_costs
from evaluation.planning.demand import Demand, foresee
from evaluation.planning.device import DeviceCosts, ask_of_device, work_s
from evaluation.planning.privacy import Privacy, spend
from evaluation.planning.rows import Row, derived
from evaluation.planning.service import MB, Load, Machines, carry, close_s, provide, update_bytes

GB = 1e9
_MEASURE = "keychorus plan measure"
_WRITTEN = "written by the database"
_PHASE_NAMES: dict[PhaseName, str] = {
    "check_in": "check-in, selected",
    "wait": "check-in, told to wait",
    "download": "download",
    "report": "report",
    "close": "end of a round",
}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What `keychorus plan` tells.

    Attributes:
      rounds, privacy, service, database, network, device: what is needed, chapter by chapter.
      assumed: what was taken for granted.
      measured: unit costs.
      measured_by: the command, the day and the machine that they are from.
      check: how far the model of the service is off, at sizes that it was not fitted on.

    """

    rounds: tuple[Row, ...]
    privacy: tuple[Row, ...]
    service: tuple[Row, ...]
    database: tuple[Row, ...]
    network: tuple[Row, ...]
    device: tuple[Row, ...]
    assumed: tuple[Row, ...]
    measured: tuple[Row, ...]
    measured_by: str
    check: tuple[Check, ...]


def make_plan(given: Assumptions, costs: Costs) -> Plan:
    """Plans.

    Raises:
      ValueError: devices that cannot fill such rounds, or noise that no plan may have.
      NoCosts: costs without runs.

    """
    demand = foresee(given, work_s=work_s(given, costs), close_s=close_s(given, costs))
    load = carry(given, costs, demand)
    return Plan(
        rounds=_rounds(given, demand),
        privacy=_privacy(spend(given, costs.num_weights)),
        service=_service(given, demand, load, provide(given, costs, load)),
        database=_database(load, provide(given, costs, load)),
        network=_network(load),
        device=_device(given, costs, ask_of_device(given, costs, demand)),
        assumed=assumed_rows(given),
        measured=measured_rows(costs),
        measured_by=f"{costs.command}, {costs.date}, {costs.machine}",
        check=check_model(costs.runs),
    )


def assumed_rows(given: Assumptions) -> tuple[Row, ...]:
    """Every assumption; one that is not its default is the reader's own."""
    default = {known.name: known.default for known in fields(Assumptions)}

    def origin(name: str, value: Any) -> str:
        return source(name) if value == default[name] else "given on the command line"

    return tuple(
        Row(name=name, value=value, unit="", origin="assumed", source=origin(name, value))
        for name, value in asdict(given).items()
    )


def measured_rows(costs: Costs) -> tuple[Row, ...]:
    """Unit costs: what one request of each kind takes."""
    units = unit_costs(costs.runs)
    found = [row for phase, name in _PHASE_NAMES.items() for row in _use_rows(name, units.one[phase])]
    found += _use_rows("a round, besides", units.a_round)
    found += [
        ("memory of a worker", units.peak_worker_bytes / MB, "MB"),
        ("training step of 16 x 12 words", 1e3 * costs.step_s, "CPU ms"),
        (f"group of {costs.secure.members}: any worker", costs.secure.member_cpu_s, "CPU s"),
        (f"group of {costs.secure.members}: leader", costs.secure.leader_cpu_s, "CPU s"),
        ("secure aggregation, on a device", costs.secure.device_cpu_s, "CPU s"),
        ("database, for a device", costs.stored.device_bytes, "bytes"),
        ("database, for a device in a round", costs.stored.assignment_bytes, "bytes"),
        ("database, for a model version", costs.stored.round_bytes / MB, "MB"),
    ]
    return tuple(
        Row(name=name, value=value, unit=unit, origin="measured", source=_cleaned(name)) for name, value, unit in found
    )


def _use_rows(name: str, use: Use) -> list[tuple[str, float, str]]:
    return [
        (f"{name}: service", 1e3 * use.cpu_s, "CPU ms"),
        (f"{name}: database", 1e3 * use.database_cpu_s, "CPU ms"),
        (f"{name}: transactions that write", use.commits, ""),
        (f"{name}: {_WRITTEN}", use.log_bytes / 1e3, "kB"),
    ]


def _cleaned(name: str) -> str:
    """Where a unit cost is from; what the database writes later is told apart by rule (`costs.charge_cleaning`)."""
    return f"{_MEASURE}, cleaning charged to reports" if name.endswith(_WRITTEN) else _MEASURE


def _rounds(given: Assumptions, demand: Demand) -> tuple[Row, ...]:
    return (
        derived("rounds a day", demand.rounds_a_day, "", "gathering, work, waiting and closing, hour by hour"),
        derived("shortest round", demand.shortest_round_s, "s", "in the best hour"),
        derived("longest round", demand.longest_round_s, "s", "in the worst hour with rounds"),
        derived("hours without rounds", demand.idle_hours, "", "cohorts not gathered within selection_timeout_s"),
        derived(f"days to {given.rounds:,} rounds", given.rounds / demand.rounds_a_day, "", "rounds / rounds a day"),
    )


def _privacy(privacy: Privacy) -> tuple[Row, ...]:
    by = "aggregation_service.privacy, as `keychorus service budget`"
    return (
        derived("noise multiplier", privacy.noise_multiplier, "", by),
        derived("epsilon", privacy.epsilon, "", by),
        derived("rho (zCDP)", privacy.rho, "", by),
        derived("participations of one device, at most", privacy.participations, "", "rounds and their separation"),
        derived("deviation that noise gives a weight", privacy.rms_error, "", f"{by}; at clipping norm 1"),
    )


def _service(given: Assumptions, demand: Demand, load: Load, machines: Machines) -> tuple[Row, ...]:
    reports = demand.selected_peak_per_s * (1 - given.drop_out)
    return (
        derived("check-ins, mean", demand.calls_mean_per_s, "a second", "pace steering"),
        derived("check-ins, peak", demand.calls_peak_per_s, "a second", "pace steering, swing"),
        derived("reports, peak", reports, "a second", "check-ins that find a place, without drop-outs"),
        derived(
            "members that ask and wait, peak", load.polls_peak_per_s, "a second", "poll_s, stage_s, group_gather_s"
        ),
        derived("cores, peak", machines.cores, "", "CPU of all requests / utilisation"),
        derived("of one core, the leader", 100 * load.leader_share, "%", "ends of rounds in the best hour"),
        derived("hosts", machines.hosts, "", f"of {given.host_cores} cores, {given.spare_hosts} spare"),
        derived("memory of a host's workers", machines.host_memory_bytes / GB, "GB", "a worker for each core"),
    )


def _database(load: Load, machines: Machines) -> tuple[Row, ...]:
    by = "requests x unit costs"
    return (
        derived("transactions that write, mean", load.mean.commits, "a second", by),
        derived("transactions that write, peak", load.peak.commits, "a second", by),
        derived("written, mean", load.mean.log_bytes / MB, "MB/s", by),
        derived("written, peak", load.peak.log_bytes / MB, "MB/s", by),
        derived("cores, peak", machines.database_cores, "", "CPU of all requests / utilisation"),
        derived("databases", machines.databases, "", "written, peak / database_write_mb_s; more than one never ran"),
        derived("size after all rounds", machines.database_bytes / GB, "GB", "devices, assignments, versions kept"),
    )


def _network(load: Load) -> tuple[Row, ...]:
    by = "requests x bytes; TLS and heads of answers left out"
    return (
        derived("in, mean", 8 * load.mean.bytes_in / GB, "Gbit/s", by),
        derived("in, peak", 8 * load.peak.bytes_in / GB, "Gbit/s", by),
        derived("out, mean", 8 * load.mean.bytes_out / GB, "Gbit/s", by),
        derived("out, peak", 8 * load.peak.bytes_out / GB, "Gbit/s", by),
    )


def _device(given: Assumptions, costs: Costs, device: DeviceCosts) -> tuple[Row, ...]:
    month = "mean over all devices"
    return (
        derived("rounds a month", device.participations_a_month, "", month),
        derived("CPU, a round", device.cpu_s, "s", "steps x slow_factor, encoding and masks"),
        derived("transfers, a round", device.transfer_s, "s", "bytes / up_mb_s, down_mb_s"),
        derived("sent, a round", update_bytes(given, costs) / MB, "MB", "weights x bits, keys, shares"),
        derived("battery, a round", 100 * device.battery_share, "%", "watts x time; the device charges meanwhile"),
        derived("battery, a month", 100 * device.battery_share_a_month, "%", month),
        derived("down, a month", device.down_mb_a_month, "MB", f"{month}; releases included"),
        derived("up, a month", device.up_mb_a_month, "MB", month),
    )
