import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.clipping import clip_to_norm
from protocol.evaluation import NO_MODEL, EvaluationSums, ModelSums
from protocol.plan import NUM_EVALUATION_SUMS

COUNTS = st.floats(0, 1e6, width=32)
MODELS = st.builds(ModelSums, COUNTS, COUNTS, COUNTS)


@given(MODELS, MODELS, COUNTS)
def test_sums_survive_the_vector(candidate, baseline, num_targets):
    sums = EvaluationSums(candidate, baseline, num_targets)
    vector = sums.to_vector()
    assert (vector.shape, vector.dtype) == ((NUM_EVALUATION_SUMS,), np.float32)
    read = EvaluationSums.from_vector(vector)
    np.testing.assert_allclose([*read[0], *read[1], read[2]], [*candidate, *baseline, num_targets], atol=1e-43)


def test_clipping_keeps_the_ratios():
    sums = EvaluationSums(ModelSums(300, 500, 4_000), ModelSums(250, 450, 4_400), 1_000)
    clipped = EvaluationSums.from_vector(clip_to_norm(sums.to_vector(), 10.0).update)
    assert clipped.num_targets < 10
    assert clipped.candidate.top1_hits / clipped.num_targets == pytest.approx(0.3)
    assert clipped.baseline.loss_nats / clipped.num_targets == pytest.approx(4.4)


def test_hits_keep_most_of_the_norm():
    """Why losses are told in larger units: at 5 nats a word they would leave the targets a seventh of the norm."""
    sums = EvaluationSums(ModelSums(200, 350, 5_000), ModelSums(180, 330, 5_100), 1_000)
    assert clip_to_norm(sums.to_vector(), 1.0).update[6] > 0.6
    assert NO_MODEL == (0, 0, 0)


@pytest.mark.parametrize("shape", [(6,), (8,), (7, 1), ()])
def test_another_length_is_refused(shape):
    with pytest.raises(ValueError, match="must have 7 sums"):
        EvaluationSums.from_vector(np.zeros(shape))
