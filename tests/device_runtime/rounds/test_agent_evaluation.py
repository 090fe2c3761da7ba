"""An agent's part in an evaluation round: as in training, but what it reports is seven sums."""

import msgspec
import numpy as np
import pytest

from device_runtime.rounds.evaluator import evaluate
from device_runtime.rounds.outcome import Event
from model.network import initial_weights
from protocol.clipping import l2_norm
from protocol.evaluation import NO_MODEL, EvaluationSums
from protocol.plan import encode_plan
from protocol.update import decode_update
from protocol.weights import decode_checkpoint, encode_served


@pytest.fixture
def evaluation_plan(plan):
    privacy = msgspec.structs.replace(plan.privacy, l2_clip_norm=2.0)
    return msgspec.structs.replace(plan, kind="evaluation", privacy=privacy)


@pytest.fixture
def baseline(shape):
    return encode_served(initial_weights(shape, seed=9))


@pytest.mark.parametrize("with_baseline", [True, False])
def test_an_evaluation_reports_seven_sums_in_the_ratios_of_the_log(
    *,
    new_agent,
    service,
    round_files,
    evaluation_plan,
    graph,
    checkpoint,
    baseline,
    messages,
    vocabulary,
    with_baseline,
):
    names = {"baseline_checkpoint": baseline} if with_baseline else {}
    service.offer(round_files | {"plan": encode_plan(evaluation_plan)} | names)
    outcomes = [new_agent().step() for _ in range(4)]  # each by an agent of its own, as after a restart
    events = [outcome.event for outcome in outcomes]
    assert events == [Event.SELECTED, Event.CONFIGURED, Event.EVALUATED, Event.REPORTED]
    [report] = service.reports
    vector = decode_update(report, evaluation_plan.update_size)
    assert l2_norm(vector) == pytest.approx(2.0)
    weights = decode_checkpoint(baseline, evaluation_plan.tensors) if with_baseline else None
    expected = evaluate(
        evaluation_plan, graph, checkpoint, messages, vocabulary, baseline=weights, should_stop=lambda: False
    )
    found = EvaluationSums.from_vector(vector)
    scale = expected.num_targets / found.num_targets
    np.testing.assert_allclose(vector * scale, expected.to_vector(), rtol=1e-5)
    assert (found.baseline == NO_MODEL) != with_baseline
    assert outcomes[2].numbers["num_targets"] == expected.num_targets


def test_an_interrupted_evaluation_reports_nothing(new_agent, service, round_files, evaluation_plan, conditions):
    service.offer(round_files | {"plan": encode_plan(evaluation_plan)})
    for _ in range(2):
        new_agent().step()
    conditions.reads_left = 2
    assert new_agent().step().event is Event.INTERRUPTED
    assert service.reports == []
