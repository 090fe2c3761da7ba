"""What a plan's traffic asks of service hosts, database and lines, from unit costs."""

import math
from dataclasses import dataclass

import msgspec

from aggregation_service.policy import PopulationPolicy
from evaluation.planning.assumptions import Assumptions
from evaluation.planning.costs import Costs, Use, unit_costs
from evaluation.planning.demand import STAGES, Demand, waiting_s

MB = 1e6
PLAIN_BITS = {"int16": 16, "float32": 32}


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What the service carries.

    Attributes:
      peak: of all requests, in one second of the busiest moment, the ends of rounds included.
      mean: likewise, on average over a day.
      polls_peak_per_s: requests of group members that wait for the others, in the busiest moment.
      leader_share: of one core that the leader needs, in the best hour.

    """

    peak: Use
    mean: Use
    polls_peak_per_s: float
    leader_share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Machines:
    """What carries it.

    Attributes:
      cores: of all service hosts, busy as much as is assumed.
      hosts: the spare ones included.
      host_memory_bytes: of workers on each, one a core.
      database_cores: busy as much as is assumed.
      databases: that can write as much; more than one has never been run for one population.
      database_bytes: after all rounds.

    """

    cores: float
    hosts: int
    host_memory_bytes: float
    database_cores: float
    databases: int
    database_bytes: float


def update_bytes(given: Assumptions, costs: Costs) -> float:
    """That a device sends in a round, keys and shares of secure aggregation included."""
    if not given.secure_aggregation:
        return costs.num_weights * PLAIN_BITS[given.update_format] / 8
    keys_and_shares = costs.secure.bytes_in - costs.num_weights * costs.secure.value_bits / 8
    return costs.num_weights * given.value_bits / 8 + keys_and_shares


def close_s(given: Assumptions, costs: Costs) -> float:
    """From a round's last report to the next round."""
    return unit_costs(costs.runs).one["close"].seconds + given.groups * costs.secure.leader_cpu_s


def carry(given: Assumptions, costs: Costs, demand: Demand) -> Load:
    """Adds up what all requests take, each at its unit cost.

    A masked update is charged as a plain one of as many bytes, or as the measured one if it is shorter; the other
    messages of secure aggregation as a check-in that is told to wait, without its writing where they only ask. Neither
    was measured over HTTP.
    """
    reporting = 1 - given.drop_out
    selected_mean = demand.rounds_a_day * given.cohort / 86_400
    waiting_peak = min(given.cohort, demand.selected_peak_per_s * waiting_s(given)) * reporting
    polls_peak = waiting_peak / given.poll_s if given.secure_aggregation else 0.0
    polls_mean = selected_mean * reporting * waiting_s(given) / given.poll_s
    peak = _requests(given, costs, demand.calls_peak_per_s, demand.selected_peak_per_s, polls_peak)
    mean = _requests(given, costs, demand.calls_mean_per_s, selected_mean, polls_mean)
    close = _close(given, costs)
    return Load(
        peak=peak + close.times(1 / demand.shortest_round_s),
        mean=mean + close.times(demand.rounds_a_day / 86_400),
        polls_peak_per_s=polls_peak,
        leader_share=close.cpu_s / demand.shortest_round_s,
    )


def provide(given: Assumptions, costs: Costs, load: Load) -> Machines:
    """Finds the machines that carry the busiest moment."""
    units = unit_costs(costs.runs)
    cores = load.peak.cpu_s / given.utilisation
    kept = PopulationPolicy().keep_checkpoints or given.rounds
    stored = costs.stored
    return Machines(
        cores=cores,
        hosts=math.ceil(cores / given.host_cores) + given.spare_hosts,
        host_memory_bytes=given.host_cores * units.peak_worker_bytes,
        database_cores=load.peak.database_cpu_s / given.utilisation,
        databases=max(math.ceil(load.peak.log_bytes / (given.database_write_mb_s * MB)), 1),
        database_bytes=stored.device_bytes * given.devices
        + stored.assignment_bytes * given.cohort * given.rounds
        + stored.round_bytes * min(kept, given.rounds),
    )


def _requests(given: Assumptions, costs: Costs, calls: float, selected: float, polls: float) -> Use:
    """What requests take in a second, of so many a second; a call that finds no place waits."""
    units = unit_costs(costs.runs)
    one, reports = units.one, selected * (1 - given.drop_out)
    return (
        units.idle
        + one["check_in"].times(selected)
        + one["wait"].times(max(calls - selected, 0.0))
        + one["download"].times(selected * (1 - given.cdn_share))
        + _report(given, costs, one["report"]).times(reports)
        + _group_messages(given, costs, one["wait"]).times(reports)
        + _asking(one["wait"]).times(polls)
    )


def _report(given: Assumptions, costs: Costs, measured: Use) -> Use:
    sent = update_bytes(given, costs)
    dearer = measured.times(max(sent / measured.bytes_in, 1.0))
    return dearer + Use(bytes_in=sent - dearer.bytes_in)


def _group_messages(given: Assumptions, costs: Costs, request: Use) -> Use:
    """Of one member: a message and an answer in each stage, and a member's part of the cryptography."""
    if not given.secure_aggregation:
        return Use()
    secure = costs.secure
    cryptography = Use(cpu_s=secure.member_cpu_s / secure.members, bytes_out=secure.bytes_out)
    return (request + _asking(request)).times(STAGES) + cryptography


def _asking(request: Use) -> Use:
    """A request that only reads: no nonce is spent for it."""
    return msgspec.structs.replace(request, commits=0.0, log_bytes=0.0)


def _close(given: Assumptions, costs: Costs) -> Use:
    units = unit_costs(costs.runs)
    return units.one["close"] + units.a_round + Use(cpu_s=given.groups * costs.secure.leader_cpu_s)
