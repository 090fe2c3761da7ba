import math

import msgspec
import numpy as np
import pytest

from evaluation.audit.secret_sharer import Exposure, Phrase, expose, plain_words, plant
from evaluation.audit.settings import SecretSharerSettings
from evaluation.rehearsal.ground import Ground
from protocol.weights import Weights
from tokenizer.vocabulary import START_ID

CHOSEN = SecretSharerSettings(rates=((0, 0), (2, 3), (1, 5)), phrases=2, references=99)


def test_phrases_are_planted_as_often_as_their_kind_says(ground: Ground) -> None:
    texts = ground.people.training
    planted = plant(texts, sorted(texts), ground.vocabulary, CHOSEN, seed=1)
    added = {name: planted.texts[name][len(said) :] for name, said in texts.items()}
    assert all(list(planted.texts[name][: len(said)]) == said for name, said in texts.items())
    assert all(len(set(said)) <= 1 for said in added.values())
    for phrase in planted.phrases:
        carried = [
            said for said in added.values() if said and ground.vocabulary.encode_message(said[0])[1:] == [*phrase.ids]
        ]
        assert [len(said) for said in carried] == [phrase.copies] * phrase.devices
    assert sum(bool(said) for said in added.values()) == CHOSEN.carriers == 6


def test_another_seed_draws_other_phrases(ground: Ground) -> None:
    texts = ground.people.training
    one, same, other = (plant(texts, sorted(texts), ground.vocabulary, CHOSEN, seed=seed) for seed in (1, 1, 2))
    assert one.phrases == same.phrases
    assert one.phrases != other.phrases


def test_phrases_are_typed_as_they_are_written(ground: Ground) -> None:
    vocabulary = ground.vocabulary
    words = plain_words(vocabulary)
    text = " ".join(vocabulary.words[index] for index in words[:20])
    assert vocabulary.encode_message(text) == [START_ID, *words[:20]]


def knowing(ground: Ground, phrase: Phrase) -> Weights:
    """A model that expects the phrase's last words everywhere."""
    bias = ground.pretrained["output_bias"].copy()
    bias[list(phrase.ids[2:])] += 20
    return {**ground.pretrained, "output_bias": bias}


def test_a_model_that_knows_a_phrase_ranks_it_first(ground: Ground) -> None:
    texts = ground.people.training
    phrases = plant(texts, sorted(texts), ground.vocabulary, CHOSEN, seed=1).phrases
    known = phrases[2]
    exposures = expose(knowing(ground, known), phrases, ground.vocabulary, CHOSEN, seed=1)
    assert [(each.devices, each.copies) for each in exposures] == list(CHOSEN.rates)
    assert exposures[1].ranks[0] == 1
    assert exposures[1].first >= 1


def test_phrases_that_nobody_typed_are_ranked_by_chance(ground: Ground) -> None:
    chosen = SecretSharerSettings(rates=((0, 0),), phrases=60, references=99)
    texts = ground.people.training
    phrases = plant(texts, sorted(texts), ground.vocabulary, chosen, seed=3).phrases
    (exposure,) = expose(ground.pretrained, phrases, ground.vocabulary, chosen, seed=3)
    assert 35 < np.mean(exposure.ranks) < 65


def test_exposure_counts_bits() -> None:
    exposure = Exposure(devices=1, copies=1, ranks=(1, 1024), ranked=1024)
    assert (exposure.mean, exposure.first) == (5.0, 1)
    assert msgspec.structs.replace(exposure, ranks=(512,)).mean == math.log2(2)


def test_too_few_carriers_are_refused(ground: Ground) -> None:
    texts = ground.people.training
    with pytest.raises(ValueError, match="devices must be at least 6 to carry all phrases, got 5"):
        plant(texts, sorted(texts)[:5], ground.vocabulary, CHOSEN, seed=1)
