import numpy as np
import pytest

from evaluation.audit.reconstruction import words_of
from evaluation.audit.words import Seen, name_words
from evaluation.rehearsal.ground import Ground
from evaluation.rehearsal.local_training import Job, OneProcess
from model.network import NetworkShape
from protocol.weights import flatten

SPECS = NetworkShape(vocabulary_size=40, embedding_size=8, num_units=6).tensors
WORDS = range(3, 40)


def an_update(targets: set[int], inputs: set[int], seed: int) -> Seen:
    """A change of the output layer as theory has it, and of the rows that were read."""
    generator = np.random.default_rng(seed)
    bias = -generator.uniform(0.01, 0.05, 40)
    bias[list(targets)] += 0.5
    direction = generator.normal(size=8)
    rows = bias[:, np.newaxis] * (direction + 0.02 * generator.normal(size=(40, 8)))
    rows[list(inputs)] += 0.3 * generator.normal(size=(len(inputs), 8))
    changes = {spec.name: generator.normal(size=spec.shape) for spec in SPECS}
    return Seen(flatten(changes | {"embedding": rows, "output_bias": bias}, SPECS).astype(np.float64), 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_risen_biases_and_moved_rows_are_named(seed: int) -> None:
    assert name_words(an_update({5, 9, 20}, {7, 9, 30}, seed), SPECS, WORDS) == {5, 9, 20, 7, 30}


def test_only_candidates_are_named() -> None:
    assert name_words(an_update({0, 5}, {1, 7}, 1), SPECS, WORDS) == {5, 7}


def test_scale_means_nothing() -> None:
    seen = an_update({5, 9}, {7}, 2)
    assert name_words(Seen(seen.update * 1e-6, 0.0), SPECS, WORDS) == {5, 9, 7}


def test_of_nothing_nothing_is_named() -> None:
    size = sum(spec.size for spec in SPECS)
    assert name_words(Seen(np.zeros(size), 0.0), SPECS, WORDS) == set()


def test_noise_alone_names_few_words() -> None:
    """2.3 % of biases are above two deviations by chance."""
    size = sum(spec.size for spec in SPECS)
    generator = np.random.default_rng(3)
    named = [len(name_words(Seen(generator.normal(size=size), 1.0), SPECS, WORDS)) for _ in range(200)]
    assert np.mean(named) < 0.06 * len(WORDS)


def test_an_update_of_the_devices_trainer_tells_nearly_all_words(ground: Ground) -> None:
    settings, texts = ground.settings, ground.people.training
    trainer = OneProcess(settings.plain_plan, ground.graph, ground.vocabulary.model)
    hits = named_words = typed_words = 0
    for number, name in enumerate(sorted(texts)[:10]):
        update = trainer.train_one(ground.pretrained, Job(texts[name], number)).update
        seen = Seen(update.astype(np.float64), 0.0)
        named = name_words(seen, settings.shape.tensors, sorted(ground.vocabulary.target_ids))
        typed = frozenset(words_of(texts, name, ground.vocabulary))
        hits, named_words, typed_words = hits + len(named & typed), named_words + len(named), typed_words + len(typed)
    assert hits / named_words > 0.9
    assert hits / typed_words > 0.8
