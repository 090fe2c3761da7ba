"""Tasks on the command line: each server's optimiser with its own options and no others; and their end."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from aggregation_service import audit, operations
from aggregation_service.cli import service
from aggregation_service.config import CONFIG_VARIABLE
from aggregation_service.privacy.adaptive_clipping import ClippingParameters
from aggregation_service.privacy.mechanisms.parameters import Independent
from aggregation_service.privacy.mechanisms.prefix_error import prefix_error
from aggregation_service.privacy.mechanisms.sensitivity import sensitivity
from aggregation_service.rounds.combining import Combining, Mean, Median, TrimmedMean
from aggregation_service.rounds.optimizer import ServerAdam, ServerAverage, ServerMomentum
from aggregation_service.storage import models
from protocol.plan import Plan, SecureAggregationParameters, encode_plan
from protocol.weights import encode_checkpoint

POPULATION = "en-gb"
PLAIN = "--plain-updates"


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def create(rehearsal: Any, plan: Plan, *options: str) -> Result:
    folder: Path = rehearsal.folder
    weights = {spec.name: rehearsal.generator.normal(size=spec.shape).astype("float32") for spec in plan.tensors}
    contents = {
        "plan.json": encode_plan(plan),
        "graph.tflite": b"TFL3",
        "weights.safetensors": encode_checkpoint(weights),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    files = ("--plan", "plan.json", "--training-graph", "graph.tflite", "--checkpoint", "weights.safetensors")
    paths = [part if part.startswith("--") else str(folder / part) for part in files]
    return run(rehearsal, "create", POPULATION, *paths, "--minimum-reports", "1", *options)


def run(rehearsal: Any, *arguments: str) -> Result:
    runner = CliRunner(env={CONFIG_VARIABLE: str(rehearsal.folder / "service.toml")})
    return runner.invoke(service, ["task", *arguments])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ServerMomentum()),
        (["--server-momentum", "0"], ServerMomentum(momentum=0.0)),
        (["--server-optimizer", "average"], ServerAverage()),
        (["--server-optimizer", "average", "--server-learning-rate", "0.5"], ServerAverage(learning_rate=0.5)),
        (
            ["--server-optimizer", "adam", "--server-beta2", "0.999", "--server-adaptivity", "0.01"],
            ServerAdam(beta2=0.999, adaptivity=0.01),
        ),
    ],
)
def test_a_task_has_the_optimiser_that_was_asked_for(
    rehearsal: Any, plan: Plan, options: list[str], expected: object
) -> None:
    result = create(rehearsal, plan, *options)
    assert result.exit_code == 0, result.output
    with rehearsal.service.database.read() as connection:
        task = models.newest_task(connection, POPULATION)
    assert task is not None
    assert task.optimizer == expected


def test_members_of_a_group_ask_again_as_seldom_as_was_asked_for(rehearsal: Any, plan: Plan) -> None:
    for options, expected in (([], 2), (["--poll-s", "15"], 15)):
        assert create(rehearsal, plan, *options).exit_code == 0
        with rehearsal.service.database.read() as connection:
            task = models.newest_task(connection, POPULATION)
        assert task is not None
        assert task.parameters.poll_s == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--server-optimizer", "average", "--server-momentum", "0.9"], "has --server-learning-rate, but not"),
        (["--server-optimizer", "adam", "--server-beta1", "1"], "server_beta1 must be in [0, 1), got 1.0"),
        (["--server-optimizer", "sgd"], "'sgd' is not one of 'average', 'momentum', 'adam'"),
    ],
)
def test_what_an_optimiser_does_not_have_is_refused(
    rehearsal: Any, plan: Plan, options: list[str], message: str
) -> None:
    result = create(rehearsal, plan, *options)
    assert result.exit_code != 0
    assert message in result.output
    with rehearsal.service.database.read() as connection:
        assert models.newest_task(connection, POPULATION) is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], Mean()),
        (["--combine", "median"], Median()),
        (["--combine", "trimmed-mean"], TrimmedMean(trim=0.1)),
        (["--combine", "trimmed-mean", "--trim", "0.25"], TrimmedMean(trim=0.25)),
    ],
)
def test_a_task_has_the_rule_that_was_asked_for(
    rehearsal: Any, plan: Plan, options: list[str], expected: Combining
) -> None:
    result = create(rehearsal, plan, "--minimum-reports", "3", *options)
    assert result.exit_code == 0, result.output
    assert ("with plain updates, by their" in result.output) == (expected != Mean())
    with rehearsal.service.database.read() as connection:
        task = models.newest_task(connection, POPULATION)
        [entry] = audit.list_entries(connection, limit=1)
    assert task is not None
    assert task.parameters.combining == expected
    assert entry.details["combining"] == msgspec.to_builtins(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--combine", "krum"], "'krum' is not one of 'mean', 'median', 'trimmed-mean'"),
        (["--combine", "median", "--trim", "0.1"], "--combine median has no --trim: only trimmed-mean has"),
        (["--trim", "0.1"], "--combine mean has no --trim"),
        (["--combine", "trimmed-mean", "--trim", "0.5"], "trim must be > 0 and < 0.5, got 0.5"),
        (["--combine", "median", "--secure-aggregation"], "needs each update, which secure aggregation hides"),
        (["--combine", "median"], "minimum_reports must be >= 3 for a coordinate-wise median, got 1"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(rehearsal: Any, plans: Any, options: list[str], message: str) -> None:
    result = create(rehearsal, plans(goal=30), *options, *([] if "--secure-aggregation" in options else [PLAIN]))
    assert result.exit_code != 0
    assert message in result.output
    with rehearsal.service.database.read() as connection:
        assert models.newest_task(connection, POPULATION) is None


def test_secure_aggregation_which_is_the_default_is_not_given_up_unasked(rehearsal: Any, plans: Any) -> None:
    options = ("--combine", "median", "--minimum-reports", "3")
    refused = create(rehearsal, plans(goal=30), *options)
    assert "which secure aggregation hides: take plain updates" in refused.output
    assert create(rehearsal, plans(goal=30), *options, PLAIN).exit_code == 0


def test_a_task_is_ended_with_its_round_and_the_audit_log_says_by_whom(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan)
    rehearsal.select()
    result = run(rehearsal, "end", POPULATION)
    assert (result.exit_code, result.output) == (0, "task 1 of en-gb has ended\n")
    with rehearsal.service.database.read() as connection:
        [entry] = audit.list_entries(connection, limit=1)
    assert (entry.action, entry.actor, entry.subject) == ("task.ended", audit.machine_actor(), POPULATION)
    assert entry.details == {"task": 1, "because": "cancelled"}
    summary = rehearsal.summary()
    assert summary["task_ended_because"] == "cancelled"
    assert [entry["phase"] for entry in summary["rounds"]] == ["abandoned"]
    assert rehearsal.post_check_in().reason == "no_task"


def test_an_evaluation_is_ended_before_the_training(rehearsal: Any, plan: Plan) -> None:
    rehearsal.create_task(plan)
    operations.create_evaluation(rehearsal.config, population=POPULATION)
    assert [run(rehearsal, "end", POPULATION).output for _ in range(2)] == [
        "task 2 of en-gb has ended\n",
        "task 1 of en-gb has ended\n",
    ]


@pytest.mark.parametrize(
    ("population", "message"),
    [("nowhere", "there is no population nowhere"), (POPULATION, "has no task that has not ended")],
)
def test_what_is_not_there_cannot_be_ended(rehearsal: Any, population: str, message: str) -> None:
    result = run(rehearsal, "end", population)
    assert result.exit_code == 1
    assert message in result.output


@pytest.mark.parametrize(
    ("goal", "options", "told"),
    [
        (20, [], "with secure aggregation in groups of 6 to 26 devices, 12 bits a value"),
        (20, ["--secure-aggregation"], "with secure aggregation in groups of 6 to 26 devices, 12 bits a value"),
        (20, ["--plain-updates"], "with plain updates"),
        (3, [], "plain updates: a cohort of 4 devices is too small for secure aggregation"),
    ],
)
def test_secure_aggregation_is_the_default_where_it_can_be(
    rehearsal: Any, plans: Any, goal: int, options: list[str], told: str
) -> None:
    result = create(rehearsal, plans(goal=goal), *options)
    assert result.exit_code == 0, result.output
    assert told in result.output
    with rehearsal.service.database.read() as connection:
        task = models.newest_task(connection, POPULATION)
    assert task is not None
    assert (task.plan.secure_aggregation is not None) == ("with secure" in told)


def test_secure_aggregation_that_was_asked_for_is_never_left_out(rehearsal: Any, plans: Any) -> None:
    result = create(rehearsal, plans(goal=3), "--secure-aggregation")
    assert result.exit_code == 1
    assert "a cohort of 4 devices is too small" in result.output


BUFFERED = ("--mechanism", "buffered", "--planned-rounds", "24", "--separation-rounds", "7")
CORRELATED = [
    (BUFFERED, 7, 0, "noise: buffered linear Toeplitz (BLT) Gaussian of 3 buffers: decays "),
    (
        (*BUFFERED, "--buffers", "2", "--max-participations", "3"),
        7,
        3,
        "noise: buffered linear Toeplitz (BLT) Gaussian of 2 buffers: decays ",
    ),
    (
        ("--mechanism", "banded", "--planned-rounds", "24", "--separation-rounds", "7", "--bands", "9"),
        7,
        0,
        "noise: banded matrix-factorisation Gaussian of 9 bands: coefficients 1, ",
    ),
    (
        ("--mechanism", "tree", "--planned-rounds", "24", "--separation-rounds", "5"),
        5,
        0,
        "noise: binary-tree Gaussian, restarted every ",
    ),
]


@pytest.mark.parametrize(("options", "separation", "limit", "told"), CORRELATED)
def test_a_task_has_the_mechanism_that_was_asked_for_and_says_what_it_gains(
    *, rehearsal: Any, plans: Any, options: tuple[str, ...], separation: int, limit: int, told: str
) -> None:
    result = create(rehearsal, plans(noise=4.0), *options)
    assert result.exit_code == 0, result.output
    with rehearsal.service.database.read() as connection:
        task = models.newest_task(connection, POPULATION)
    assert task is not None
    parameters = task.parameters
    assert (parameters.separation_rounds, parameters.max_participations) == (separation, limit)
    assert told in result.output
    pattern = {"rounds": 24, "min_separation": separation, "max_participations": limit or 24}
    rms, largest = prefix_error(parameters.mechanism, **pattern)
    assert f"sensitivity {sensitivity(parameters.mechanism, **pattern):.4g} over 24 rounds" in result.output
    assert f"at equal privacy: {rms:.2f} (largest {largest:.2f})" in result.output
    assert rms < prefix_error(Independent(), **pattern)[0]


def test_noise_is_independent_unless_asked_for_otherwise(rehearsal: Any, plans: Any) -> None:
    result = create(rehearsal, plans(noise=4.0))
    assert "sensitivity" not in result.output
    with rehearsal.service.database.read() as connection:
        task = models.newest_task(connection, POPULATION)
    assert task is not None
    assert task.parameters.mechanism == Independent()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mechanism", "tree"), "--mechanism tree needs --planned-rounds"),
        (("--mechanism", "tree", "--planned-rounds", "9"), "--mechanism tree needs --separation-rounds"),
        ((*BUFFERED, "--bands", "4"), "--bands is of --mechanism banded, not of buffered"),
        (("--buffers", "4"), "--buffers is of --mechanism buffered, not of independent"),
        (("--planned-rounds", "9"), "--planned-rounds is of correlated noise, not of --mechanism independent"),
        ((*BUFFERED, "--planned-rounds", "0"), "rounds must be between 1 and 65536, got 0"),
        ((*BUFFERED, "--separation-rounds", "0"), "min_separation must be >= 1, got 0"),
        ((*BUFFERED, "--max-participations", "-1"), "max_participations must be >= 1, got -1"),
        ((*BUFFERED, "--buffers", "99"), "buffers must be between 1 and 16, got 99"),
        (("--mechanism", "matrix"), "'matrix' is not one of 'independent', 'tree', 'banded', 'buffered'"),
    ],
)
def test_a_mechanism_that_cannot_be_is_refused(
    rehearsal: Any, plans: Any, options: tuple[str, ...], message: str
) -> None:
    result = create(rehearsal, plans(noise=4.0), *options)
    assert result.exit_code != 0
    assert message in result.output
    with rehearsal.service.database.read() as connection:
        assert models.newest_task(connection, POPULATION) is None


def test_correlated_noise_needs_noise(rehearsal: Any, plans: Any) -> None:
    result = create(rehearsal, plans(noise=0.0), *BUFFERED)
    assert result.exit_code == 1
    assert "noise_multiplier must be > 0 for correlated noise, got 0" in result.output


def test_devices_may_make_the_noise(rehearsal: Any, plans: Any) -> None:
    result = create(rehearsal, plans(goal=10, noise=1.0), "--noise-by", "devices")
    assert result.exit_code == 0, result.output
    assert "noise by devices, of whom 8 a group are counted on" in result.output
    with rehearsal.service.database.read() as connection:
        task = models.newest_task(connection, POPULATION)
    assert task is not None
    assert task.plan.privacy.noise_by == "devices"


def test_a_plan_file_may_say_who_makes_the_noise(rehearsal: Any, plans: Any) -> None:
    secure = SecureAggregationParameters(value_bits=20, min_members=8, max_members=13)
    plan = plans(goal=10, noise=1.0, noise_by="devices", secure_aggregation=secure)
    result = create(rehearsal, plan)
    assert "noise by devices" in result.output
    result = create(rehearsal, plan, "--noise-by", "service")
    assert result.exit_code == 0, result.output
    assert "noise by devices" not in result.output


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([PLAIN], "--plain-updates do not go with noise by devices"),
        (["--combine", "median"], "a coordinate-wise median needs each update"),
        (
            ["--mechanism", "tree", "--planned-rounds", "8", "--separation-rounds", "2"],
            "noise_by must be service for correlated noise",
        ),
    ],
)
def test_what_does_not_go_with_noise_by_devices_is_refused(
    rehearsal: Any, plans: Any, options: list[str], told: str
) -> None:
    result = create(rehearsal, plans(goal=10, noise=1.0), "--noise-by", "devices", *options)
    assert result.exit_code != 0
    assert told in " ".join(result.output.split())


def test_clipping_does_not_adapt_where_devices_make_the_noise(rehearsal: Any, plans: Any) -> None:
    plan, told = plans(goal=10, noise=1.0), "noise_by must be service for adaptive clipping, got devices"
    result = create(rehearsal, plan, "--noise-by", "devices", "--adaptive-clipping")
    assert result.exit_code == 1
    assert " ".join(result.output.split()) == f"Error: {told}"
    secure = SecureAggregationParameters(value_bits=20, min_members=8, max_members=13)
    plan = plans(goal=10, noise=1.0, noise_by="devices", secure_aggregation=secure)
    result = create(rehearsal, plan, "--adaptive-clipping")
    assert result.exit_code == 1
    assert told in " ".join(result.output.split())
    result = create(rehearsal, plan, "--noise-by", "service", "--adaptive-clipping")
    assert result.exit_code == 0, result.output


def test_noise_of_nothing_is_nothing_for_devices_to_make(rehearsal: Any, plans: Any) -> None:
    result = create(rehearsal, plans(goal=10, noise=0.0), "--noise-by", "devices")
    assert result.exit_code == 1
    assert "noise_multiplier must be > 0 for noise by devices, got 0" in result.output


def test_adaptive_clipping_is_made_of_the_plan_and_the_options(rehearsal: Any, plans: Any) -> None:
    plan = plans(goal=100, noise=1.0)
    result = create(rehearsal, plan, PLAIN, "--adaptive-clipping", "--clipping-quantile", "0.8")
    assert result.exit_code == 0, result.output
    with rehearsal.service.database.read() as connection:
        task = models.newest_task(connection, POPULATION)
    assert task is not None
    assert task.plan.privacy.count_noise == 5.0
    assert task.parameters.adaptive_clipping == ClippingParameters(target_quantile=0.8, floor=0.1, ceiling=10.0)
    assert "clipping norm from 1 on, between 0.1 and 10, after the 0.8 quantile" in result.output
    assert "noise of 5 devices on the count of those within, for 0.50% more on weights" in result.output


def test_secure_aggregation_and_adaptive_clipping_go_together(rehearsal: Any, plans: Any) -> None:
    options = ("--adaptive-clipping", "--clipping-floor", "0.5", "--clipping-ceiling", "2", "--count-noise", "4")
    result = create(rehearsal, plans(goal=100, noise=1.0), "--secure-aggregation", *options)
    assert result.exit_code == 0, result.output
    with rehearsal.service.database.read() as connection:
        task = models.newest_task(connection, POPULATION)
    assert task is not None
    assert task.plan.quantiser is not None
    assert task.plan.quantiser.vector_length == task.plan.num_weights + 1
    assert (task.plan.privacy.count_noise, task.parameters.adaptive_clipping) == (
        4.0,
        ClippingParameters(floor=0.5, ceiling=2.0),
    )


@pytest.mark.parametrize(
    ("noise", "options", "message"),
    [
        (1.0, ["--clipping-quantile", "0.5"], "--clipping-quantile is of --adaptive-clipping"),
        (1.0, ["--count-noise", "0.5"], "--count-noise is of --adaptive-clipping"),
        (0.0, ["--adaptive-clipping"], "noise_multiplier must be > 0 for adaptive clipping, got 0"),
        (1.0, ["--adaptive-clipping", "--clipping-quantile", "1"], "target_quantile must be in (0, 1), got 1.0"),
        (1.0, ["--adaptive-clipping", "--count-noise", "0.25"], "count_noise must be > half the noise_multiplier"),
        (1.0, ["--adaptive-clipping", "--clipping-ceiling", "0.5"], "must be between the floor of 0.1 and the ceiling"),
        (
            1.0,
            ["--adaptive-clipping", "--mechanism", "tree", "--planned-rounds", "8", "--separation-rounds", "2"],
            "noise must be independent for adaptive clipping",
        ),
        (1.0, ["--adaptive-clipping", "--combine", "median"], "combining must be the mean for adaptive clipping"),
    ],
)
def test_clipping_that_cannot_adapt_is_refused(
    rehearsal: Any, plans: Any, noise: float, options: list[str], message: str
) -> None:
    result = create(rehearsal, plans(goal=100, noise=noise), PLAIN, *options)
    assert result.exit_code != 0
    assert message in " ".join(result.output.split())
    with rehearsal.service.database.read() as connection:
        assert models.newest_task(connection, POPULATION) is None
