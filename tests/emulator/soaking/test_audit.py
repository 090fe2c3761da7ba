"""The audit on a real database: honest books pass, and each way of tampering with them is found."""

import numpy as np
import pytest
from sqlalchemy import delete, update

from aggregation_service import operations
from aggregation_service.config import load_config
from aggregation_service.privacy.ledger import GaussianSumReleased
from aggregation_service.rounds.optimizer import ServerAverage
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.storage import books, models
from aggregation_service.storage.database import Database
from aggregation_service.storage.files import put_file
from aggregation_service.storage.tables import assignments, checkpoints, ledger, rounds
from emulator.soaking.audit import Audit, processes_check
from emulator.soaking.witness import Witness
from protocol.plan import Plan, PrivacyParameters, TensorSpec, TrainingParameters
from protocol.weights import encode_checkpoint

POPULATION, GOAL = "english", 2
NUM_ROUNDS = 3
PLAN = Plan(
    tensors=(TensorSpec(name="rows", shape=(5, 4)),),
    training=TrainingParameters(batch_size=4, sequence_length=5, local_epochs=1, learning_rate=0.5, max_words=100),
    privacy=PrivacyParameters(l2_clip_norm=1.0, noise_multiplier=0.0, report_goal=GOAL, minimum_separation_s=0.0),
)


class Books:
    """Rounds as a service would have written them, and a witness as a fleet would have left it."""

    def __init__(self, folder):
        paths = operations.initialise(folder)
        config = load_config(paths.config_path)
        operations.add_population(config, POPULATION)
        generator = np.random.default_rng(4)
        self.weights = generator.normal(0, 0.3, (5, 4)).astype(np.float32)
        operations.create_task(
            config,
            population=POPULATION,
            plan=PLAN,
            training_graph=b"not trained with here",
            checkpoint={"rows": self.weights},
            parameters=RoundParameters(minimum_reports=1),
            optimizer=ServerAverage(),
        )
        self.database = Database(config.database_url)
        self.witness = Witness(population=POPULATION, plan=PLAN)
        for number in range(1, NUM_ROUNDS + 1):
            self._close(number, [generator.normal(0, 0.05, 20).astype(np.float32) for _ in range(GOAL)])
        self._abandon(NUM_ROUNDS + 1)

    def _close(self, number, updates):
        round_id = self._begin(number, "closed", len(updates), model_version=number - 1)
        names = [f"{number:016x}{place:016x}" for place in range(len(updates))]
        self.weights = (self.weights + np.sum(updates, axis=0, dtype=np.float64).reshape(5, 4) / GOAL).astype(
            np.float32
        )
        released = GaussianSumReleased(
            round_id=round_id, noise_multiplier=0.0, l2_clip_norm=1.0, model_version=number - 1,
            num_reports=len(updates), max_participations=1,
        )  # fmt: skip
        with self.database.write() as connection:
            for name in names:
                connection.execute(
                    assignments.insert().values(
                        id=name, round_id=round_id, device_id=name, token_sha256=b"", reported=True, assigned_at=0.0
                    )
                )
            books.append_event(connection, POPULATION, released, 100.0 * number)
            content = encode_checkpoint({"rows": self.weights})
            models.add_checkpoint(connection, POPULATION, content=content, optimizer_state=None, now=100.0 * number)
        self.witness.updates[round_id] = dict(zip(names, updates, strict=True))
        self.witness.acknowledged[round_id] = {names[0]}

    def _abandon(self, number):
        self._begin(number, "abandoned", 1, model_version=number - 1, abandoned_because="key_lost")

    def _begin(self, number, phase, reported, **values):
        round_id = f"{number:032x}"
        row = {
            "id": round_id, "population": POPULATION, "number": number, "task_id": 1, "manifest": b"",
            "signature": b"", "phase": phase, "opened_at": 0.0, "deadline_at": 0.0, "ended_at": 60.0, "selected": 3,
            "reported": reported, "shortened": 0, "bytes_up": 0, "max_participations": 1, **values,
        }  # fmt: skip
        with self.database.write() as connection:
            connection.execute(rounds.insert().values(row))
        return round_id

    def change(self, statement):
        with self.database.write() as connection:
            connection.execute(statement)

    def audited(self, wanted=NUM_ROUNDS):
        with self.database.read() as connection:
            return {check.name: check for check in Audit(self.witness).finish(connection, now=0.0, wanted=wanted)}


@pytest.fixture
def written(tmp_path):
    made = Books(tmp_path / "service")
    yield made
    made.database.close()


def failures(checks):
    return {name: list(check.failures) for name, check in checks.items() if check.failures}


def test_honest_books_pass(written):
    checks = written.audited()
    assert failures(checks) == {}
    assert checks["rounds"].found == "3 of 4 closed"
    assert checks["ledger"].found == "3 releases booked, 3 made"
    assert checks["acknowledged updates"].found.startswith("3 of 6 counted ones")


def test_rounds_are_looked_at_once_and_told_of(written):
    audit = Audit(written.witness)
    with written.database.read() as connection:
        assert audit.look(connection)
        assert not audit.look(connection)
    assert (audit.closed, audit.ended) == (3, 4)
    told = audit.rounds()
    assert [(each.because, each.counted, each.acknowledged) for each in told] == [("", 2, 1)] * 3 + [("key_lost", 1, 0)]
    assert all(each.off <= 0.51 and each.least_update > 1000 for each in told[:3])
    assert written.witness.updates == {}


def test_a_sum_that_was_tampered_with_is_found(written):
    """The newest weights hold one of the updates twice."""
    twice = next(iter(written.witness.updates[f"{3:032x}"].values())).reshape(5, 4)
    with written.database.write() as connection:
        entry = put_file(connection, encode_checkpoint({"rows": written.weights + twice / GOAL}))
        newest = update(checkpoints).where(checkpoints.c.model_version == 3)
        connection.execute(newest.values(file_sha256=entry.sha256))
    (failure,) = failures(written.audited())["sums"]
    assert failure.startswith("round 3 must release the mean of the 2 updates that it counted")


def test_a_lost_update_is_found(written):
    lost = next(iter(written.witness.acknowledged[f"{2:032x}"]))
    written.change(update(assignments).where(assignments.c.id == lost).values(reported=False))
    found = failures(written.audited())
    assert found["acknowledged updates"] == ["round 2 must count all 1 acknowledged reports, lost 1"]
    assert found["sums"][0] == "round 2 must mark 2 reports as counted, got 1"
    assert found["sums"][1].startswith("round 2 must release the mean")


def test_a_ledger_row_that_is_gone_is_found(written):
    written.change(delete(ledger).where(ledger.c.id == 2))
    told = failures(written.audited())["ledger"]
    assert told[0].startswith("the ledger's chain must hold, but")
    assert told[1] == "round 2 must be in the ledger once, got 0 times"


def test_an_abandoned_round_without_a_reason_is_found(written):
    written.change(update(rounds).where(rounds.c.number == 4).values(abandoned_because=None))
    assert failures(written.audited()) == {"sums": ["round 4 must say why it was abandoned, got nothing"]}


def test_a_version_that_is_missing_is_found(written):
    written.change(delete(checkpoints).where(checkpoints.c.model_version == 0))
    assert failures(written.audited()) == {"sums": ["round 1 must leave its weights, and those before it, got none"]}


def test_too_few_rounds_are_a_failure(written):
    assert failures(written.audited(wanted=4)) == {"rounds": ["4 rounds must close within the soak's time, 3 did"]}


def test_processes_that_do_not_end_are_a_failure():
    assert processes_check([]).failures == ()
    assert processes_check(["gunicorn", "postgres"]).failures == ("all processes must end, gunicorn, postgres did not",)
