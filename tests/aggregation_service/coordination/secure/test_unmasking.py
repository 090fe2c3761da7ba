"""What the end of a group leaves behind for operators: counts of reports, and whose shares were wrong."""

import logging
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from aggregation_service.metrics import process_registry
from aggregation_service.storage.tables import secure_members
from protocol.secure_aggregation.messages import UnmaskingShares, decode, encode
from protocol.weights import flatten


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def counted(name: str) -> float:
    return process_registry().get_sample_value(name, {"population": "en-gb"}) or 0.0


def with_wrong_shares(message: bytes) -> bytes:
    good = decode(message, UnmaskingShares)
    return encode(UnmaskingShares(session_id=good.session_id, sender=good.sender, shares=b"\x01" * len(good.shares)))


def first_in_roster(rehearsal: Any, devices: Any, count: int) -> list[Any]:
    with rehearsal.service.database.read() as connection:
        places = dict(connection.execute(select(secure_members.c.assignment_id, secure_members.c.place)).all())
    return sorted(devices, key=lambda device: places[device.selected.assignment_id])[:count]


def finish(devices: Any, liars: Any) -> None:
    """All send their last messages; those of liars are wrong."""
    for device in devices:
        message = device.message(device.get().data)
        response = device.put(with_wrong_shares(message) if device in liars else message)
        assert response.status_code == 200, response.json


def test_reports_of_a_group_are_counted_once_it_is_done(rehearsal: Any, cohort: Any, walked: Any) -> None:
    reports, num_bytes = counted("keychorus_reports_accepted_total"), counted("keychorus_report_bytes_total")
    devices = cohort.begin(4)
    walked(devices, until=4)
    assert counted("keychorus_reports_accepted_total") == reports
    assert rehearsal.summary()["groups"] == {"under_way": 1}
    walked(devices)
    assert counted("keychorus_reports_accepted_total") == reports + 4
    sent = sum(len(device.sent[2]) for device in devices)
    assert sent - 4 * 200 < counted("keychorus_report_bytes_total") - num_bytes < sent
    assert rehearsal.summary()["groups"] == {"done": 1}


def test_two_wrong_members_are_survived_and_named(
    rehearsal: Any, cohort: Any, walked: Any, caplog: pytest.LogCaptureFixture
) -> None:
    devices = cohort.begin(8, secure={"max_members": 8, "dropout_fraction": 0.4})
    before = counted("keychorus_secure_suspects_total")
    walked(devices, until=4)
    liars = first_in_roster(rehearsal, devices, 2)  # whose shares are tried first
    with caplog.at_level(logging.INFO, "aggregation_service"):
        logging.getLogger("aggregation_service").addHandler(caplog.handler)
        try:
            finish(devices, liars)
        finally:
            logging.getLogger("aggregation_service").removeHandler(caplog.handler)
    expected = np.mean([device.update for device in devices], axis=0)
    change = rehearsal.weights()[1] - flatten(cohort.initial, cohort.plan.tensors)
    assert np.linalg.norm(change - expected) <= np.sqrt(37) / cohort.plan.quantiser.scale + 1e-6
    told = [record.values for record in caplog.records if getattr(record, "event", "") == "group_suspects"]
    (named,) = {values["assignments"] for values in told}  # the handler may be there twice
    assert named == ",".join(sorted(device.selected.assignment_id for device in liars))
    assert counted("keychorus_secure_suspects_total") == before + 2
    assert rehearsal.summary()["groups"] == {"done": 1}


def test_more_wrong_members_than_can_be_spared_end_the_group(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices = cohort.begin(4)
    walked(devices, until=4)
    finish(devices, devices[:3])
    assert rehearsal.summary()["groups"] == {"too_few": 1}
