"""Noise by devices, over HTTP: a group's sum has it before the service sees the sum, and the ledger before that."""

from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from aggregation_service import operations
from aggregation_service.config import load_signing_key
from aggregation_service.operations.evaluations import EvaluationSettings
from aggregation_service.policy import PopulationPolicy
from aggregation_service.privacy.accounting import privacy_spent
from aggregation_service.privacy.ledger import DistributedSumReleased, UnknownEvent, encode_event
from aggregation_service.privacy.ledger_chain import BrokenLedger
from aggregation_service.privacy.statement import PrivacyStatement
from aggregation_service.privacy.wording import DISTRIBUTED_NOISE
from aggregation_service.releases.statements import state_now
from aggregation_service.releases.verification import check_ledger, verify_statement
from aggregation_service.storage import books, models, releases
from aggregation_service.storage.tables import ledger
from protocol.evaluation import EvaluationSums, ModelSums
from protocol.keystream import Keystream
from protocol.weights import flatten

POPULATION = "en-gb"
DELTA = 1e-10
TRUSTING_NOBODY = {"mode": "malicious", "value_bits": 24}


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def begin(cohort: Any, count: int, *, noise: float = 2.0, **fields: Any) -> list[Any]:
    secure = TRUSTING_NOBODY | fields.pop("secure", {})
    devices: list[Any] = cohort.begin(count, noise=noise, noise_by="devices", secure=secure, **fields)
    for number, device in enumerate(devices):
        device.random_bytes = Keystream(bytes([number]) * 32, b"booking tests").read
    return devices


def booked(rehearsal: Any) -> list[Any]:
    with rehearsal.service.database.read() as connection:
        return books.list_events(connection, POPULATION)


def participations(rehearsal: Any) -> int:
    with rehearsal.service.database.read() as connection:
        return books.max_participations(connection, POPULATION)


def stated(rehearsal: Any) -> PrivacyStatement:
    with rehearsal.service.database.read() as connection:
        return state_now(connection, POPULATION, DELTA)


def set_budget(rehearsal: Any, epsilon: float) -> None:
    with rehearsal.service.database.write() as connection:
        models.set_policy(connection, POPULATION, PopulationPolicy(epsilon_budget=epsilon))


def noise_of(rehearsal: Any, cohort: Any, devices: list[Any], goal: int) -> float:
    """The squared norm of the sum's noise, over the variance that the devices' shares have in a coordinate."""
    change = goal * (rehearsal.weights()[1] - flatten(cohort.initial, cohort.plan.tensors))
    noise = change - np.sum([device.update for device in devices], axis=0)
    return float(noise @ noise / cohort.plan.shared_noise.deviation(len(devices)) ** 2)


def test_a_sum_carries_a_share_of_every_device_and_nothing_of_the_service(
    rehearsal: Any, cohort: Any, walked: Any
) -> None:
    devices = begin(cohort, 4)
    walked(devices)
    assert 12 < noise_of(rehearsal, cohort, devices, 4) < 81  # 37 coordinates: chi-square, of 1e-5 on either side
    (event,) = booked(rehearsal)
    shared = cohort.plan.shared_noise
    assert isinstance(event, DistributedSumReleased)
    assert (event.num_reports, event.num_shares, event.max_participations) == (4, 3, 1)
    assert event.noise_multiplier == pytest.approx(2.0, rel=1e-4)
    assert event.l2_clip_norm == shared.quantiser.l2_bound
    assert participations(rehearsal) == 1
    assert [entry["phase"] for entry in rehearsal.summary()["rounds"]] == ["closed"]


def test_as_many_drop_outs_as_assumed_leave_the_noise_that_was_promised(
    rehearsal: Any, cohort: Any, walked: Any
) -> None:
    devices = begin(cohort, 4, minimum_reports=3)
    walked(devices, until=2)
    walked(devices[:3], until=3)
    rehearsal.wait(61)
    walked(devices[:3])
    rehearsal.wait(2000)
    rehearsal.summary()
    shared, least = cohort.plan.shared_noise, 2.0 * cohort.plan.l2_sensitivity
    assert least <= shared.deviation(3) < least * 1.001
    assert 12 < noise_of(rehearsal, cohort, devices[:3], 4) < 81
    assert [event.num_reports for event in booked(rehearsal)] == [3]


def test_with_one_more_the_group_has_no_sum_and_nothing_is_booked(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices = begin(cohort, 4)
    walked(devices, until=2)
    walked(devices[:2], until=3)
    rehearsal.wait(61)
    assert rehearsal.summary()["groups"] == {"too_few": 1}
    assert booked(rehearsal) == []
    assert participations(rehearsal) == 0


def test_a_sum_is_booked_before_anybody_is_asked_to_open_it(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices = begin(cohort, 4)
    walked(devices, until=4)
    assert [event.num_reports for event in booked(rehearsal)] == [4]
    rehearsal.wait(100)  # nobody answers: the service could have learnt the sum, and the round comes to nothing
    rehearsal.wait(2000)
    assert rehearsal.summary()["rounds"][0]["phase"] == "abandoned"
    assert len(booked(rehearsal)) == 1
    assert participations(rehearsal) == 1
    assert stated(rehearsal).epsilon == pytest.approx(privacy_spent(2.0, 1, DELTA).epsilon, rel=1e-3)


def test_before_all_confirmed_nothing_is_booked(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices = begin(cohort, 4)
    walked(devices, until=3)
    walked(devices[:3], until=4)
    assert booked(rehearsal) == []


def test_two_groups_of_a_round_are_two_sums_and_one_participation(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices = begin(cohort, 8)
    walked(devices)
    assert len({event.round_id for event in booked(rehearsal)}) == 1
    statement = stated(rehearsal)
    assert (statement.cohort_sizes, statement.max_participations) == ((4, 4), 1)
    assert statement.epsilon == pytest.approx(privacy_spent(2.0, 1, DELTA).epsilon, rel=1e-3)
    assert 12 < noise_of(rehearsal, cohort, devices, 8) < 81
    with rehearsal.service.database.read() as connection:
        assert len(check_ledger(connection, POPULATION).events) == 2


def test_the_statement_says_who_made_the_noise_and_what_it_counts_on(rehearsal: Any, cohort: Any, walked: Any) -> None:
    walked(begin(cohort, 4))
    statement = stated(rehearsal)
    assert statement.trust_mode == DISTRIBUTED_NOISE
    assert statement.secure_aggregation
    assert statement.mechanism == "discrete Gaussian in shares, which the devices of each group add"
    (shares,) = statement.shares
    assert (shares.sums, shares.num_shares, shares.least_reports) == (1, 3, 4)
    assert (shares.adversary_fraction, shares.dropout_fraction) == (0.0, 0.25)
    assert statement.noise_multiplier**2 * shares.squared_bound == pytest.approx(
        shares.num_shares * shares.sigma**2 - 9, rel=1e-9
    )
    assert any("3 honest ones are counted on in each group of 4 and more" in each for each in statement.not_checked)
    assert any("fills a group with devices of its own" in each for each in statement.not_protected)
    assert statement.at_scale(cohort=1000, population=10**6, rounds=10, delta=DELTA).noise_multiplier == pytest.approx(
        2.0, rel=1e-3
    ), "larger cohorts are more groups"


def test_a_budget_that_was_lowered_keeps_the_sum_closed(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices = begin(cohort, 4)
    walked(devices, until=3)
    walked(devices[:3], until=4)
    set_budget(rehearsal, privacy_spent(2.0, 1, DELTA).epsilon / 2)
    devices[3].step()
    assert rehearsal.summary()["groups"] == {"budget_spent": 1}
    assert booked(rehearsal) == []
    assert devices[0].get().status_code == 410


def test_a_budget_pays_for_as_many_rounds_as_it_says(rehearsal: Any, cohort: Any, walked: Any) -> None:
    begin(cohort, 4)
    set_budget(rehearsal, privacy_spent(2.0, 1, DELTA).epsilon * 1.01)
    assert operations.budget_outlook(rehearsal.config, POPULATION).affordable == 1


def test_an_evaluation_has_noise_by_devices_too(rehearsal: Any, cohort: Any, walked: Any) -> None:
    begin(cohort, 4)
    settings = EvaluationSettings(report_goal=4, minimum_reports=4, noise_multiplier=0.25)
    operations.create_evaluation(rehearsal.config, population=POPULATION, settings=settings)
    rehearsal.wait(2000)  # for the training round to end
    rehearsal.summary()
    with rehearsal.service.database.read() as connection:
        task = models.active_task(connection, POPULATION)
    assert task is not None
    assert task.kind == "evaluation"
    assert task.plan.shared_noise is not None
    cohort.plan = task.plan
    devices = [cohort.join() for _ in range(4)]
    for device in devices:
        device.update = EvaluationSums(ModelSums(20.0, 30.0, 40.0), ModelSums(0, 0, 0), 80.0).to_vector()
    walked(devices)
    (event,) = booked(rehearsal)
    assert (event.vector_length, event.num_reports) == (7, 4)
    assert event.noise_multiplier == pytest.approx(0.25, rel=1e-3)


def test_a_release_can_be_verified_and_no_ledger_that_says_more_noise_is_taken(
    rehearsal: Any, cohort: Any, walked: Any
) -> None:
    walked(begin(cohort, 4))
    rehearsal.wait(1)
    operations.publish_release(rehearsal.config, population=POPULATION, files={"model": b"model"})
    key = load_signing_key(rehearsal.config.signing_key_path).public_key()
    with rehearsal.service.database.read() as connection:
        (release,) = releases.list_releases(connection, POPULATION)
        assert verify_statement(connection, release, check_ledger(connection, POPULATION), key) == ()
    (event,) = booked(rehearsal)
    more = encode_event(event).replace(f'"noise_multiplier":{event.noise_multiplier}', '"noise_multiplier":9.5')
    with rehearsal.service.database.write() as connection:
        connection.execute(update(ledger).values(event=more))
    with rehearsal.service.database.read() as connection, pytest.raises(BrokenLedger):
        check_ledger(connection, POPULATION)
    with pytest.raises(UnknownEvent, match=r"noise_multiplier must be <= .*, which the shares make, got 9\.5"):
        booked(rehearsal)
