import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from evaluation.bench.suggest import NAME, Prepared, Setting, Typist, prepare, run, typists
from model.network import NetworkShape

pytestmark = pytest.mark.slow  # starts the processes that it times

SHAPE = NetworkShape(vocabulary_size=300, embedding_size=8, num_units=12)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    setting = Setting(shape=SHAPE, texts_per_turn=2, words_per_text=6)
    return prepare(setting, tmp_path_factory.mktemp("bench"))


def test_what_is_typed_is_personal_and_of_the_vocabulary(prepared: Prepared) -> None:
    assert prepared.tuning.helps
    assert len(prepared.texts) == 2
    assert all(len(text.split()) == 6 for text in prepared.texts)


def test_both_sides_answer_every_keystroke_and_end(prepared: Prepared) -> None:
    with typists(prepared) as both:
        for side in both:
            assert side.run() > 0
            assert len(side.milliseconds) == sum(len(text) + 1 for text in prepared.texts)
            assert 10e6 < side.peak_bytes() < 500e6
        processes = [side._process.pid for side in both]
    assert not any(Path(f"/proc/{process}").exists() for process in processes)
    assert os.getpid() not in processes


def test_a_process_that_hangs_is_ended() -> None:
    with pytest.raises(Exception, match=r"."), Typist(["true"], []) as typist:
        typist.peak_bytes()
    assert typist._process.returncode == 0


def test_a_run_tells_latency_and_memory(prepared: Prepared) -> None:
    result = run(
        Setting(release=prepared.folder, texts_per_turn=2, words_per_text=6),
        repeats=2,
        console=Console(file=io.StringIO()),
    )
    assert result.name == f"{NAME} p99"
    assert result.ratio == result.value / result.reference
    assert float(result.details["peak_rss_mb"]) > 10
    assert float(result.details["p50_ms"]) <= float(result.details["p99_ms_all_turns"])
    assert result.details["threads"] == 1
