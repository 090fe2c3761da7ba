"""What all sides are given is one and the same work: what a device cuts of its log, the rivals find as batches."""

import msgspec
import numpy as np
import pytest

from device_runtime.rounds.trainer import examples_of
from emulator.bench.local_work import BATCHES_FILE, TEXTS_FILE, VOCABULARY_FILE, Setting, lay_work, read_weights
from protocol.plan import Plan, PrivacyParameters
from protocol.weights import check_weights
from tokenizer.vocabulary import Vocabulary

SETTING = Setting(size="small", devices=3, words=50)


@pytest.fixture(scope="module")
def laid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    return folder, lay_work(SETTING, folder)


@pytest.mark.parametrize("words", [20, 50, 61])
def test_each_device_has_exactly_so_many_words_of_its_own(words):
    texts = Setting(size="small", devices=3, words=words).texts()
    assert [sum(len(text.split()) for text in each) for each in texts] == [words] * 3
    assert len({tuple(each) for each in texts}) == 3


def test_the_same_seed_gives_the_same_people_and_another_gives_others():
    assert SETTING.texts() == Setting(size="small", devices=3, words=50).texts()
    assert SETTING.texts() != Setting(size="small", devices=3, words=50, seed=2).texts()


def test_batches_hold_what_a_device_makes_of_its_log(laid):
    folder, steps = laid
    vocabulary = Vocabulary((folder / VOCABULARY_FILE).read_bytes())
    texts = msgspec.json.decode((folder / TEXTS_FILE).read_bytes(), type=list[list[str]])
    privacy = PrivacyParameters(l2_clip_norm=1.0, noise_multiplier=0, report_goal=3, minimum_separation_s=0)
    plan = Plan(tensors=SETTING.preset.shape.tensors, training=SETTING.training, privacy=privacy)
    with np.load(folder / BATCHES_FILE) as arrays:
        for device, of_device in enumerate(texts):
            examples = examples_of(plan, of_device, vocabulary)
            tokens, weights = arrays[f"tokens/{device}"], arrays[f"target_weights/{device}"]
            assert tokens.shape == (steps[device], SETTING.training.batch_size, SETTING.training.sequence_length)
            assert -(-len(examples.tokens) // SETTING.training.batch_size) == steps[device]
            assert np.concatenate(tokens)[: len(examples.tokens)].tolist() == examples.tokens.tolist()
            assert weights.sum() == examples.num_targets


def test_first_weights_are_the_networks(laid):
    check_weights(read_weights(laid[0]), SETTING.preset.shape.tensors)
