"""What a plan asks of one device: time, battery, data."""

import math
from dataclasses import dataclass

from evaluation.planning.assumptions import Assumptions
from evaluation.planning.costs import Costs, unit_costs
from evaluation.planning.demand import DAY_S, Demand
from evaluation.planning.service import MB, update_bytes

MONTH_DAYS = 365.25 / 12
WORDS_A_STEP = 16 * 12 * 0.97
"""A step has 16 sequences of 12 words, 97 % filled: docs/performance.md, Fewer steps for the same text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceCosts:
    """What one device pays, on average over all of them.

    Attributes:
      participations_a_month: rounds that it is selected into.
      cpu_s: of its own core, for one round.
      transfer_s: for one round.
      battery_share: of a full battery, for one round.
      down_mb_a_month: rounds, check-ins and releases, in 10^6 bytes.
      up_mb_a_month: likewise.

    """

    participations_a_month: float
    cpu_s: float
    transfer_s: float
    battery_share: float
    down_mb_a_month: float
    up_mb_a_month: float

    @property
    def battery_share_a_month(self) -> float:
        """Of a full battery; the device charges meanwhile."""
        return self.battery_share * self.participations_a_month


def work_s(given: Assumptions, costs: Costs) -> float:
    """How long a device works for a round, waiting left out."""
    return cpu_s(given, costs) + transfer_s(given, costs)


def cpu_s(given: Assumptions, costs: Costs) -> float:
    """Training, and encoding and masking where there is secure aggregation."""
    steps = math.ceil(given.words * given.epochs / WORDS_A_STEP)
    masking_s = costs.secure.device_cpu_s if given.secure_aggregation else 0.0
    return given.slow_factor * (steps * costs.step_s + masking_s)


def transfer_s(given: Assumptions, costs: Costs) -> float:
    """Down and up, one after the other."""
    return _down_mb(given, costs) / given.down_mb_s + update_bytes(given, costs) / MB / given.up_mb_s


def ask_of_device(given: Assumptions, costs: Costs, demand: Demand) -> DeviceCosts:
    """Works out what one device pays."""
    selected = demand.rounds_a_day * given.cohort * MONTH_DAYS / given.devices
    calls = demand.calls_mean_per_s * DAY_S * MONTH_DAYS / given.devices
    wait = unit_costs(costs.runs).one["wait"]
    energy_wh = given.watts * work_s(given, costs) / 3600
    return DeviceCosts(
        participations_a_month=selected,
        cpu_s=cpu_s(given, costs),
        transfer_s=transfer_s(given, costs),
        battery_share=energy_wh / given.battery_wh,
        down_mb_a_month=selected * _down_mb(given, costs)
        + calls * wait.bytes_out / MB
        + given.releases_a_month * given.release_mb,
        up_mb_a_month=(selected * update_bytes(given, costs) + calls * wait.bytes_in) / MB,
    )


def _down_mb(given: Assumptions, costs: Costs) -> float:
    told = costs.secure.bytes_out if given.secure_aggregation else 0.0
    return (unit_costs(costs.runs).one["download"].bytes_out + told) / MB
