"""The bit of adaptive clipping through secure aggregation: one more coordinate, rotated and masked with the others."""

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest
from noisy_rounds import events_of, source
from sqlalchemy import select

from aggregation_service.coordination import closing, leading
from aggregation_service.operations.clipping import with_count_noise
from aggregation_service.privacy.adaptive_clipping import ClippingParameters, adapt, initial_state
from aggregation_service.privacy.ledger import AdaptiveSumReleased
from aggregation_service.privacy.sum_noise import sum_noise
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.storage.tables import clipping_states, files
from protocol.arrays import FloatArray
from protocol.clipping import clip_to_norm
from protocol.discrete_gaussian import discrete_gaussian
from protocol.manifest import decode_manifest
from protocol.plan import Plan, decode_plan

CLIPPING = ClippingParameters(learning_rate=0.5, floor=0.25, ceiling=4.0)


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


@pytest.fixture(autouse=True)
def known_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The close draws from the same source as the oracle below."""
    monkeypatch.setattr(leading, "close_round", partial(closing.close_round, random_bytes=source()))


def served_plan(rehearsal: Any, device: Any) -> Plan:
    sha256 = decode_manifest(device.selected.manifest.manifest).files["plan"].sha256
    with rehearsal.service.database.read() as connection:
        return decode_plan(connection.scalar(select(files.c.content).where(files.c.sha256 == sha256)))


def report(rehearsal: Any, plan: Plan, norm: float) -> FloatArray:
    return plan.privacy.report(clip_to_norm(rehearsal.update(norm), plan.privacy.l2_clip_norm))


@pytest.mark.parametrize("norms", [[0.1] * 4, [9.0] * 4, [0.1, 0.1, 0.1, 9.0]])
def test_the_count_of_a_group_moves_the_norm_of_the_next_round(
    rehearsal: Any, cohort: Any, plans: Any, walked: Callable[..., None], norms: list[float]
) -> None:
    cohort.plans = lambda **fields: with_count_noise(plans(**fields), 2.0)
    devices = cohort.begin(4, noise=2.0, adaptive_clipping=CLIPPING)
    plan: Plan = cohort.plan
    for device, norm in zip(devices, norms, strict=True):
        device.update = report(rehearsal, plan, norm)
    walked(devices)
    assert [entry["phase"] for entry in rehearsal.summary()["rounds"]] == ["closed"]

    noise = sum_noise(plan, RoundParameters(minimum_reports=1, over_selection=1.0))
    assert noise.grid is not None
    drawn = noise.grid.step * discrete_gaussian(Fraction(noise.grid.sigma), plan.update_size, source())
    bits = sum(0.5 if norm <= 1 else -0.5 for norm in norms)
    count = bits + drawn[-1] / plan.privacy.bit_per_device
    expected = adapt(initial_state(CLIPPING, "task 1", 1.0), CLIPPING, count, 4)
    with rehearsal.service.database.read() as connection:
        state = msgspec.json.decode(connection.scalar(select(clipping_states.c.state)))
    assert state["l2_clip_norm"] == pytest.approx(expected.l2_clip_norm, rel=5e-3)

    (event,) = events_of(rehearsal)
    assert isinstance(event, AdaptiveSumReleased)
    assert event.secure_aggregation
    assert plan.quantiser is not None
    assert event.l2_clip_norm > plan.quantiser.l2_bound > plan.privacy.report_norm
    follower = cohort.join()
    assert served_plan(rehearsal, follower).privacy.l2_clip_norm == state["l2_clip_norm"]
    received = rehearsal.weights()[1].astype(np.float64)
    assert received.size == plan.num_weights
