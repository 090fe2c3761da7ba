"""The command, from end to end."""

import json

import pytest
from click.testing import CliRunner

from emulator.simulation import sweep
from emulator.simulation.cli import simulate
from emulator.simulation.outcome import nats
from emulator.simulation.settings import sweep_runs
from emulator.simulation.sweep import HeldOut, _examples, run_one


@pytest.mark.parametrize(("aggregator", "noise", "learns"), [("mean", 0.0, True), ("gaussian", 100.0, False)])
def test_rounds_learn_and_noise_far_above_every_update_undoes_it(make_ground, aggregator, noise, learns):
    ground, advanced = make_ground(), []
    (run,) = sweep_runs(
        aggregators=[aggregator], noise_multipliers=[noise], clip_norms=[2.0], learning_rates=[2.0],
        server_optimizers=["momentum"], server_learning_rates=[None], rounds=12, cohort=5, seed=1,
    )  # fmt: skip
    held_out = HeldOut.of(ground)
    outcome = run_one(
        *(run, ground, _examples(ground), held_out), num_threads=2, on_round=lambda: advanced.append(None)
    )
    before = held_out.accuracy(ground.pretrained)
    assert len(advanced) == 12
    assert outcome.lost_rounds == 0
    has_learned = outcome.loss is not None and outcome.loss < nats(before) - 0.2
    assert has_learned is learns


def test_the_command_leaves_a_report_and_runs_nothing_twice(chats, monkeypatch, tmp_path):
    monkeypatch.setattr("evaluation.corpus.load_chitchat", lambda: chats(num_words=1_100, people=40))
    options = ["--rounds", "1", "--cohort", "5", "--aggregator", "mean,tree", "--noise-multiplier", "0.1"]
    options += ["--workers", "1", "--output", str(tmp_path)]
    result = CliRunner().invoke(simulate, [*options, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found == json.loads((tmp_path / "simulation.json").read_bytes())
    assert [run["settings"]["aggregator"] for run in found["runs"]] == ["mean", "tree"]
    monkeypatch.setattr(sweep, "run_one", lambda *_, **__: pytest.fail("a finished run must not run again"))
    again = CliRunner().invoke(simulate, options)
    assert again.exit_code == 0, again.output
    assert "tree" in again.stdout
    assert json.loads((tmp_path / "simulation.json").read_bytes()) == found
