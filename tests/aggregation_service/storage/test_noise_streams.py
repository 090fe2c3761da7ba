"""Participations in streams, against counts kept by hand, and states that are replaced as a whole."""

from itertools import pairwise

import numpy as np
import pytest
from sqlalchemy import select

from aggregation_service.privacy.mechanisms.parameters import Independent, Tree
from aggregation_service.rounds.optimizer import ServerMomentum
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.storage import models, noise_streams
from aggregation_service.storage.database import Database
from aggregation_service.storage.models import TaskKind
from aggregation_service.storage.noise_streams import Observed, Standing, StatePart, mechanism_of
from aggregation_service.storage.tables import assignments, noise_states, rounds, stream_participation
from protocol.plan import Plan, PrivacyParameters, TensorSpec, TrainingParameters

PLAN = Plan(
    tensors=(TensorSpec(name="bias", shape=(4,)),),
    training=TrainingParameters(batch_size=4, sequence_length=5, local_epochs=1, learning_rate=0.5, max_words=100),
    privacy=PrivacyParameters(l2_clip_norm=1.0, noise_multiplier=0.5, report_goal=3, minimum_separation_s=60.0),
)
PARAMETERS = RoundParameters(minimum_reports=1, mechanism=Tree(restart_every=4))


def add_task(database: Database, population: str, kind: TaskKind = "training") -> int:
    with database.write() as connection:
        if not models.has_population(connection, population):
            models.add_population(connection, population, 1.0)
        return models.add_task(
            connection,
            population=population,
            plan=PLAN,
            training_graph=b"graph",
            vocabulary=None,
            parameters=PARAMETERS,
            optimizer=ServerMomentum(momentum=0.9, learning_rate=1.0),
            now=1.0,
            kind=kind,
        )


def add_round(database: Database, task_id: int, number: int, reported: dict[str, bool]) -> str:
    """A closed round and its cohort: devices, and whether their reports came."""
    round_id = f"{number:032x}"
    row = {"id": round_id, "population": "en", "number": number, "task_id": task_id, "model_version": number}
    row |= {"manifest": b"{}", "signature": bytes(64), "phase": "closed", "opened_at": 1.0, "deadline_at": 2.0}
    row |= dict.fromkeys(("selected", "reported", "shortened", "bytes_up", "max_participations"), 0)
    with database.write() as connection:
        connection.execute(rounds.insert().values(row))
        for place, (device_id, has_reported) in enumerate(reported.items()):
            assignment = {"id": f"{number:016x}{place:016x}", "round_id": round_id, "device_id": device_id}
            assignment |= {"token_sha256": bytes(32), "reported": has_reported, "assigned_at": 1.0}
            connection.execute(assignments.insert().values(assignment))
    return round_id


def test_participations_and_gaps_are_those_of_the_reports(database: Database) -> None:
    generator = np.random.default_rng(3)
    task_id, other_id = add_task(database, "en"), add_task(database, "de")
    steps_of: dict[str, list[int]] = {f"{number:032x}": [] for number in range(6)}
    for step in range(15):
        cohort = {device_id: bool(generator.random() < 0.7) for device_id in steps_of if generator.random() < 0.5}
        round_id = add_round(database, task_id, step + 1, cohort)
        reporting = [device_id for device_id, has_reported in cohort.items() if has_reported]
        for device_id in reporting:
            steps_of[device_id].append(step)
        gaps = [later - earlier for steps in steps_of.values() for earlier, later in pairwise(steps)]
        with database.write() as connection:
            assert noise_streams.note_step(connection, task_id, round_id, step) == len(reporting)
            most = max(map(len, steps_of.values()))
            assert noise_streams.observed(connection, task_id) == Observed(most, min(gaps, default=None))
            for device_id, steps in steps_of.items():
                expected = Standing(len(steps), steps[-1]) if steps else None
                assert noise_streams.find_standing(connection, task_id, device_id) == expected
            assert noise_streams.observed(connection, other_id) == Observed(0, None)


def test_a_state_replaces_the_one_before(database: Database) -> None:
    task_id, other_id = add_task(database, "en"), add_task(database, "de")
    with database.write() as connection:
        assert noise_streams.list_parts(connection, task_id) == []
        assert noise_streams.next_step(connection, task_id) == 0
        noise_streams.put_state(connection, task_id, [StatePart(part, 1, bytes([part]) * 3) for part in range(3)])
        noise_streams.put_state(connection, task_id, (StatePart(part, 2, bytes([part]) * 4) for part in range(2)))
        assert noise_streams.list_parts(connection, task_id) == [0, 1]
        assert noise_streams.get_part(connection, task_id, 1) == StatePart(1, 2, b"\x01" * 4)
        assert noise_streams.next_step(connection, task_id) == 2
        assert noise_streams.next_step(connection, other_id) == 0


def test_streams_are_forgotten_by_population(database: Database) -> None:
    kept_id, task_id = add_task(database, "de"), add_task(database, "en")
    round_id = add_round(database, task_id, 1, {"d" * 32: True})
    with database.write() as connection:
        for each in (kept_id, task_id):
            noise_streams.put_state(connection, each, [StatePart(0, 1, b"sealed")])
            noise_streams.note_step(connection, each, round_id, 0)
        noise_streams.forget_streams(connection, "en")
        assert connection.scalars(select(noise_states.c.task_id)).all() == [kept_id]
        assert connection.scalars(select(stream_participation.c.task_id)).all() == [kept_id]


def test_only_states_of_ended_tasks_are_deleted(database: Database) -> None:
    ended_id, elsewhere_id = add_task(database, "en"), add_task(database, "de")
    add_task(database, "de")  # ends the one before
    running_id = add_task(database, "en")
    with database.write() as connection:
        for each in (ended_id, elsewhere_id, running_id):
            noise_streams.put_state(connection, each, [StatePart(0, 1, b"sealed")])
        assert noise_streams.list_ended(connection) == ["de", "en"]
        noise_streams.forget_ended(connection, "en")
        assert noise_streams.list_ended(connection) == ["de"]
        assert set(connection.scalars(select(noise_states.c.task_id))) == {elsewhere_id, running_id}


@pytest.mark.parametrize(("kind", "expected"), [("training", Tree(restart_every=4)), ("evaluation", Independent())])
def test_the_noise_of_an_evaluation_is_never_correlated(database: Database, kind: TaskKind, expected: object) -> None:
    task_id = add_task(database, "en", kind)
    with database.read() as connection:
        assert mechanism_of(models.get_task(connection, task_id)) == expected
