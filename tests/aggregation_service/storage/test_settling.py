import msgspec
import pytest
from sqlalchemy import select

from aggregation_service.privacy.adaptive_clipping import ClippingParameters
from aggregation_service.privacy.charges import charges, effective_multiplier
from aggregation_service.privacy.ledger import ReleasesLost
from aggregation_service.privacy.mechanisms.parameters import BufferedToeplitz, Independent, Mechanism, Tree
from aggregation_service.privacy.shares import sum_of
from aggregation_service.privacy.sum_noise import sum_noise
from aggregation_service.rounds.optimizer import ServerMomentum
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.rounds.state import AbandonReason, Phase, Round
from aggregation_service.storage import books, models, noise_streams, rounds
from aggregation_service.storage.database import Database
from aggregation_service.storage.settling import settle
from aggregation_service.storage.tables import noise_states, partial_sums, participation, stream_participation
from protocol.manifest import SignedManifest
from protocol.plan import Plan, PrivacyParameters, SecureAggregationParameters, TensorSpec, TrainingParameters

NOW = 1_700_000_000.0
PARAMETERS = RoundParameters(minimum_reports=1)
BUFFERED = BufferedToeplitz(decays=(0.9,), scales=(0.5,))
PLAN = Plan(
    tensors=(TensorSpec(name="bias", shape=(4,)),),
    training=TrainingParameters(batch_size=4, sequence_length=5, local_epochs=1, learning_rate=0.5, max_words=100),
    privacy=PrivacyParameters(l2_clip_norm=1.0, noise_multiplier=0.5, report_goal=3, minimum_separation_s=60.0),
)
QUIETER = msgspec.structs.replace(
    PLAN, privacy=msgspec.structs.replace(PLAN.privacy, noise_multiplier=2.0, l2_clip_norm=3.0)
)


@pytest.fixture
def backed_up(database: Database) -> Database:
    """One population that trains, with an open round, and one that never had a task."""
    with database.write() as connection:
        for name in ("de", "en"):
            models.add_population(connection, name, 1.0)
        for plan in (PLAN, QUIETER):
            models.add_task(
                connection,
                population="en",
                plan=plan,
                training_graph=b"graph",
                vocabulary=None,
                parameters=PARAMETERS,
                optimizer=ServerMomentum(momentum=0.9, learning_rate=1.0),
                now=1.0,
            )
        for content in (b"first", b"second"):
            models.add_checkpoint(connection, "en", content=content, optimizer_state=b"state", now=2.0)
        task = models.newest_task(connection, "en")
        assert task is not None
        state = Round(parameters=task.parameters, report_goal=3, opened_at=3.0, deadline_at=9.0, selected=2, reported=1)
        record = rounds.RoundRecord(
            id="1" * 32,
            population="en",
            number=7,
            task=task,
            model_version=1,
            manifest=SignedManifest(manifest=b"{}", signature=bytes(64)),
            state=state,
            sealing_key=bytes(32),
        )
        rounds.insert_round(connection, record)
        sealed = {"round_id": record.id, "worker_id": "2" * 32, "part": 0, "num_updates": 1, "sealed": b"sealed"}
        connection.execute(partial_sums.insert().values(sealed))
        for population in ("de", "en"):
            device = {"population": population, "device_id": "d" * 32, "last_seen_at": 4.0, "last_selected_at": 5.0}
            connection.execute(participation.insert().values({**device, "reported": 3}))
    return database


def last_selected(database: Database, population: str) -> float | None:
    with database.read() as connection:
        return books.last_selected_at(connection, population, "d" * 32)


def test_open_rounds_are_abandoned_in_the_open(backed_up: Database) -> None:
    with backed_up.write() as connection:
        settled = settle(connection, 0, NOW)
    assert (settled.abandoned, settled.charged) == (("1" * 32,), ())
    with backed_up.read() as connection:
        (record,) = rounds.list_rounds(connection, "en")
        assert (record.state.phase, record.state.abandoned_because) == (Phase.ABANDONED, AbandonReason.KEY_LOST)
        assert connection.execute(select(partial_sums)).all() == []
        assert books.list_events(connection, "en") == []
        assert models.newest_version(connection, "en") == 1
    assert last_selected(backed_up, "en") == 5.0


def test_lost_rounds_are_charged_at_the_least_noise_the_population_ever_had(backed_up: Database) -> None:
    with backed_up.write() as connection:
        assert settle(connection, 4, NOW).charged == ("en",)
    with backed_up.read() as connection:
        (lost,) = books.list_events(connection, "en")
        assert books.list_events(connection, "de") == []
    noisy, quiet = (sum_noise(plan, PARAMETERS) for plan in (PLAN, QUIETER))
    assert lost == ReleasesLost(
        num_releases=4, after_round=7, noise_multiplier=noisy.noise_multiplier, l2_clip_norm=quiet.one_report
    )
    assert (lost.noise_multiplier, lost.l2_clip_norm) == (pytest.approx(0.5), pytest.approx(3.0))
    assert (last_selected(backed_up, "en"), last_selected(backed_up, "de")) == (NOW, 5.0)


def test_no_model_version_means_two_models(backed_up: Database) -> None:
    """Versions 2 to 5 may be with devices, which would take no older one, and not notice another of the same number."""
    with backed_up.read() as connection:
        before = models.newest_checkpoint(connection, "en")
    with backed_up.write() as connection:
        settle(connection, 4, NOW)
    with backed_up.read() as connection:
        after = models.newest_checkpoint(connection, "en")
        old = models.find_checkpoint(connection, "en", 1)
    assert before is not None
    assert after is not None
    assert old is not None
    assert (before.model_version, after.model_version) == (1, 6)
    assert (after.file_sha256, after.optimizer_state) == (before.file_sha256, b"state")
    assert old.optimizer_state is None


def test_lost_sums_with_noise_by_devices_are_charged_at_what_their_shares_make(backed_up: Database) -> None:
    by_devices = msgspec.structs.replace(
        PLAN,
        privacy=msgspec.structs.replace(PLAN.privacy, noise_multiplier=0.25, noise_by="devices"),
        secure_aggregation=SecureAggregationParameters(value_bits=20, min_members=8, max_members=10),
    )
    with backed_up.write() as connection:
        models.add_task(
            connection,
            population="en",
            plan=by_devices,
            training_graph=b"graph",
            vocabulary=None,
            parameters=PARAMETERS,
            optimizer=ServerMomentum(momentum=0.9, learning_rate=1.0),
            now=1.0,
        )
        settle(connection, 4, NOW)
    with backed_up.read() as connection:
        (lost,) = books.list_events(connection, "en")
    assert by_devices.shared_noise is not None
    assert lost.noise_multiplier == sum_of(by_devices.shared_noise).gaussian_multiplier
    assert lost.noise_multiplier == pytest.approx(0.25, rel=1e-3)


def add_stream(database: Database, mechanism: Mechanism) -> int:
    """A task whose stream made a step."""
    with database.write() as connection:
        task_id = models.add_task(
            connection,
            population="en",
            plan=QUIETER,
            training_graph=b"graph",
            vocabulary=None,
            parameters=RoundParameters(minimum_reports=1, mechanism=mechanism),
            optimizer=ServerMomentum(momentum=0.9, learning_rate=1.0),
            now=1.0,
        )
        noise_streams.put_state(connection, task_id, [noise_streams.StatePart(0, 1, b"sealed")])
        row = {"task_id": task_id, "device_id": "d" * 32, "participations": 1, "last_step": 0}
        connection.execute(stream_participation.insert().values(row))
    return task_id


@pytest.mark.parametrize("lost_rounds", [0, 4])
def test_streams_begin_anew_where_steps_of_them_may_be_lost(backed_up: Database, lost_rounds: int) -> None:
    task_id = add_stream(backed_up, BUFFERED)
    with backed_up.write() as connection:
        settle(connection, lost_rounds, NOW)
    kept = [] if lost_rounds else [task_id]
    with backed_up.read() as connection:
        for table in (noise_states, stream_participation):
            assert connection.scalars(select(table.c.task_id)).all() == kept


@pytest.mark.parametrize(
    ("mechanisms", "told"),
    [
        ([BUFFERED], [BUFFERED]),
        ([BUFFERED, BUFFERED], [BUFFERED]),
        ([BUFFERED, Tree(8)], [BUFFERED, Tree(8)]),
        ([Independent()], [Independent()]),
    ],
)
def test_lost_steps_are_charged_as_those_of_every_stream_there_was(
    backed_up: Database, mechanisms: list[Mechanism], told: list[Mechanism]
) -> None:
    """And never less than the same number of releases with fresh noise."""
    for mechanism in mechanisms:
        add_stream(backed_up, mechanism)
    with backed_up.write() as connection:
        settle(connection, 4, NOW)
    with backed_up.read() as connection:
        events = [event for event in books.list_events(connection, "en") if isinstance(event, ReleasesLost)]
    assert [event.mechanism for event in events] == told
    fresh = ReleasesLost(num_releases=4, after_round=7, noise_multiplier=0.5, l2_clip_norm=3.0)
    assert effective_multiplier(charges(events)) <= effective_multiplier(charges([fresh]))


def test_rounds_whose_clipping_adapted_are_charged_whatever_norm_they_had(backed_up: Database) -> None:
    """Rounding to the grid costs a millionth more at some norms than at others; nobody knows which were lost."""
    adaptive = msgspec.structs.replace(
        PLAN, privacy=msgspec.structs.replace(PLAN.privacy, count_noise=5.0, l2_clip_norm=1.5)
    )
    clipping = ClippingParameters(floor=0.01, ceiling=50.0)
    parameters = RoundParameters(minimum_reports=1, adaptive_clipping=clipping)
    with backed_up.write() as connection:
        models.add_task(
            connection,
            population="de",
            plan=adaptive,
            training_graph=b"graph",
            vocabulary=None,
            parameters=parameters,
            optimizer=ServerMomentum(momentum=0.9, learning_rate=1.0),
            now=1.0,
        )
        task = models.newest_task(connection, "de")
        settle(connection, 2, NOW)
        (event,) = books.list_events(connection, "de")
    assert task is not None
    assert isinstance(event, ReleasesLost)
    noises = [
        sum_noise(models.with_clip_norm(task, norm).plan, parameters)
        for norm in [0.01, *(2.0 ** (number / 7 - 6) for number in range(80)), 1.5, 50.0]
    ]
    assert event.noise_multiplier <= min(noise.noise_multiplier for noise in noises)
    assert event.noise_multiplier == pytest.approx(0.5, rel=1e-6)
    assert event.l2_clip_norm >= max(noise.one_report for noise in noises)
