from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.rehearsal.ground import Ground, count_pretraining, first_weights


def test_weights_are_made_once(ground: Ground, tmp_path: Path) -> None:
    settings, donors = replace(ground.settings, pretraining_epochs=1), ground.people.donors
    steps: list[int] = []
    first = first_weights(settings, donors, ground.vocabulary, tmp_path, lambda: steps.append(1))
    assert len(steps) == count_pretraining(settings, ground.people)

    again = first_weights(settings, donors, ground.vocabulary, tmp_path, lambda: pytest.fail("trained again"))
    np.testing.assert_array_equal(again["embedding"], first["embedding"])
    first_weights(settings, donors[:9], ground.vocabulary, tmp_path, lambda: steps.append(2))
    assert 2 in steps


def test_other_settings_or_weights_are_another_ground(ground: Ground) -> None:
    bias = ground.pretrained["output_bias"]
    other_weights = replace(ground, pretrained={**ground.pretrained, "output_bias": bias + np.float32(1)})
    other_settings = replace(ground, settings=replace(ground.settings, attackers=0.2))
    prints = {each.fingerprint for each in (ground, other_weights, other_settings)}
    assert len(prints) == 3
    assert replace(ground).fingerprint == ground.fingerprint


def test_no_text_is_shown(ground: Ground) -> None:
    shown = repr(ground)
    assert not any(text in shown for text in ground.people.donors)
