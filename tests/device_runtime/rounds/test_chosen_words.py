"""A device's choice of words: sealed, of one discovery at a time, and gone in time."""

import pytest

from device_runtime.rounds.chosen_words import KEPT_S, ChosenWords
from device_runtime.rounds.spool import Spool, clear_spools

THIS, OTHER = "1" * 32, "2" * 32
WORDS = ("quargel", "zorble")


@pytest.fixture
def chosen(tmp_path, clock):
    return ChosenWords(tmp_path / "tests", clock)


def test_a_choice_outlives_the_process_sealed(chosen, tmp_path, clock):
    chosen.keep(THIS, WORDS)
    assert ChosenWords(tmp_path / "tests", clock).recall(THIS) == WORDS
    assert b"zorble" not in (tmp_path / "tests" / "words.sealed").read_bytes()
    assert (tmp_path / "tests" / "words.sealed").stat().st_mode & 0o777 == 0o600


def test_another_discovery_has_another_choice(chosen):
    assert chosen.recall(THIS) is None
    chosen.keep(THIS, WORDS)
    assert chosen.recall(OTHER) is None
    chosen.keep(OTHER, ())
    assert (chosen.recall(THIS), chosen.recall(OTHER)) == (None, ())


@pytest.mark.parametrize(("later_s", "is_kept"), [(0, True), (KEPT_S - 1, True), (KEPT_S, False), (-1, False)])
def test_a_choice_is_kept_for_so_long(*, chosen, clock, tmp_path, later_s, is_kept):
    chosen.keep(THIS, WORDS)
    clock.now += later_s
    chosen.forget_old()
    assert (chosen.recall(THIS) == WORDS) == is_kept
    assert (tmp_path / "tests" / "words.sealed").exists() == is_kept


def test_a_wiped_log_takes_the_choice_with_it(chosen, tmp_path):
    chosen.keep(THIS, WORDS)
    Spool(tmp_path / "tests").put("a" * 32, b"votes")
    clear_spools(tmp_path)
    assert chosen.recall(THIS) is None
    assert sorted(path.name for path in (tmp_path / "tests").iterdir()) == ["spool.key"]


def test_what_is_damaged_is_forgotten(chosen, tmp_path):
    chosen.keep(THIS, WORDS)
    path = tmp_path / "tests" / "words.sealed"
    path.write_bytes(path.read_bytes()[:-1])
    assert chosen.recall(THIS) is None
    chosen.forget_old()
    assert not path.exists()
