"""A fleet's report made up to be small and to have something of everything."""

import msgspec
import pytest

from evaluation.fleet.outcome import (
    AdversaryGroup,
    DropOut,
    FairnessGroup,
    FleetPopulation,
    FleetReport,
    FleetRound,
    LiveDay,
    Timings,
    Traffic,
)


def a_round(population, number, **changes):
    made = FleetRound(
        population=population, number=number, opened_h=5.0 * number, duration_h=0.5, phase="closed", because="",
        selected=13, reported=10, top1=0.06 + 0.01 * number, epsilon=2.0 + number, bytes_up=1_000_000,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def a_population(name):
    return FleetPopulation(
        name=name, devices=30, top1_before=0.05, top1_after=0.08, targets=1_234, epsilon=4.0, delta=1e-6,
        max_participations=2, refusals={"clock_skew": 3},
    )  # fmt: skip


@pytest.fixture
def report():
    half = FairnessGroup(
        name="fast", devices=30, seconds_per_step=0.5, eligible_share=0.3, selected=1.5, reported=1.0,
        keystrokes_saved=0.25,
    )  # fmt: skip
    return FleetReport(
        scenario="two-towns",
        about="Two towns, told with <b>care</b> & at length.",
        seed=1,
        days=2.0,
        devices=60,
        is_reproducible=True,
        populations=(a_population("english"), a_population("german")),
        rounds=(
            a_round("english", 1),
            a_round("english", 2, phase="abandoned", because="too_few", top1=None, reported=2),
            a_round("english", 3, phase="reporting", duration_h=None, top1=None),
            a_round("german", 1),
        ),
        events={"selected": 52, "reported": 35, "told_to_wait": 700},
        drop_outs=(
            DropOut(phase="selected", because="expired", devices=4),
            DropOut(phase="in session", because="group ended", devices=7),
        ),
        fairness=(
            half,
            msgspec.structs.replace(half, name="slow", keystrokes_saved=None, eligible_share=None),
        ),
        live=(
            LiveDay(day=0, messages=100, words=300, accepted_share=0.2, saved_share=0.3),
            LiveDay(day=1, messages=10, words=0, accepted_share=None, saved_share=None),
        ),
        adversaries=(
            AdversaryGroup(kind="honest", devices=57, reported=34, refused=0),
            AdversaryGroup(kind="violating", devices=3, reported=0, refused=5),
        ),
        traffic=Traffic(bytes_up=3_000_000, bytes_down=9_000_000, training_steps=900, training_device_s=1_800.0),
        happened=("hour 3: all processes of the service were killed for 0.5 h",),
        software={"numpy": "1.26.4"},
    )  # fmt: skip


@pytest.fixture
def empty(report):
    """A rehearsal in which nothing came about."""
    return msgspec.structs.replace(
        report, rounds=(), events={}, drop_outs=(), fairness=(), live=(), adversaries=(), happened=(),
        traffic=Traffic(bytes_up=0, bytes_down=0, training_steps=0, training_device_s=0.0),
    )  # fmt: skip


@pytest.fixture
def timings():
    return Timings(seconds={"preparing": 3.5, "living": 20.0}, device_cpu_s=12.0, training_cpu_s=5.0, steps=800)
