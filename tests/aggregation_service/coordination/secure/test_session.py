"""Whole sessions over HTTP: what is unmasked is the sum of those who came through, and nothing else is stored."""

from typing import Any

import msgspec
import numpy as np
from sqlalchemy import func, select

from aggregation_service import operations
from aggregation_service.operations.evaluations import EvaluationSettings
from aggregation_service.storage import models
from aggregation_service.storage.tables import masked_sums, rounds, secure_groups, secure_messages
from protocol.evaluation import EvaluationSums, ModelSums
from protocol.messages import Receipt, decode_message
from protocol.weights import flatten


def weight_change(rehearsal: Any, cohort: Any) -> Any:
    return rehearsal.weights()[1] - flatten(cohort.initial, cohort.plan.tensors)


def tolerance(cohort: Any, count: int, goal: int) -> Any:
    """Each coordinate of each update is rounded by less than one step; the rotation keeps the norm of the errors."""
    return count * np.sqrt(37) / cohort.plan.quantiser.scale / goal


def groups(rehearsal: Any) -> list[Any]:
    with rehearsal.service.database.read() as connection:
        return list(connection.execute(select(secure_groups).order_by(secure_groups.c.formed_at)))


def test_the_sum_of_a_group_becomes_the_next_model(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices = cohort.begin(4)
    walked(devices)
    expected = np.mean([device.update for device in devices], axis=0)
    version, _ = rehearsal.weights()
    assert version == 1
    difference = np.linalg.norm(weight_change(rehearsal, cohort) - expected)
    assert 0 < difference <= tolerance(cohort, 4, 4)
    (entry,) = rehearsal.summary()["rounds"]
    assert (entry["phase"], entry["reported"]) == ("closed", 4)
    assert entry["bytes_up"] == sum(len(message) for device in devices for message in device.sent)
    (group,) = groups(rehearsal)
    assert (group.stage, group.content, group.survivors) == ("done", None, None)
    assert (group.members, group.shared, group.masked, group.confirmed, group.unmasked) == (4, 4, 4, 4, 4)
    with rehearsal.service.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(masked_sums)) == 0
        assert set(connection.execute(select(secure_messages.c.stage, secure_messages.c.content))) == {
            ("unmasking", None)
        }


def test_an_evaluation_adds_up_hits_and_counts(rehearsal: Any, cohort: Any, walked: Any) -> None:
    cohort.begin(4)
    settings = EvaluationSettings(report_goal=4, minimum_reports=4)
    operations.create_evaluation(rehearsal.config, population="en-gb", settings=settings)
    rehearsal.wait(2000)  # for the training round to end
    rehearsal.summary()
    with rehearsal.service.database.read() as connection:
        task = models.active_task(connection, "en-gb")
    assert task is not None
    assert task.plan.secure_aggregation is not None
    assert task.plan.secure_aggregation.value_bits == 32
    cohort.plan = task.plan
    devices = [cohort.join() for _ in range(4)]
    for device in devices:
        device.update = EvaluationSums(ModelSums(20.0, 30.0, 40.0), ModelSums(0, 0, 0), 80.0).to_vector()
    walked(devices)
    with rehearsal.service.database.read() as connection:
        result = msgspec.json.decode(connection.scalar(select(rounds.c.result).where(rounds.c.result.is_not(None))))
    assert (result["num_reports"], round(result["num_targets"], 2)) == (4, 320.0)
    assert round(result["top1_candidate"], 4) == 0.25


def test_the_last_message_again_gets_its_receipt_again(rehearsal: Any, cohort: Any, walked: Any) -> None:
    devices = cohort.begin(4)
    walked(devices)
    for device in devices:
        response = device.put(device.sent[4], "unmasking")
        assert response.status_code == 200, response.json
        assert decode_message(response.data, Receipt).assignment_id == device.selected.assignment_id
    (entry,) = rehearsal.summary()["rounds"]
    assert entry["reported"] == 4
