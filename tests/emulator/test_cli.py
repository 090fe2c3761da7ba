"""`keychorus emulate`: what it lists, and one sentence for what it cannot run."""

from click.testing import CliRunner

from emulator.cli import emulate
from emulator.scenarios.reading import ready_scenarios


def test_the_list_has_all_that_is_ready():
    result = CliRunner().invoke(emulate, ["list"])
    assert result.exit_code == 0
    for name in ready_scenarios():
        assert name in result.output


def test_help_has_examples():
    result = CliRunner().invoke(emulate, ["run", "--help"])
    assert "keychorus emulate run first-week" in result.output


def test_what_cannot_be_run_is_told_in_a_sentence(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('about = "a test"\ndays = 1\ndevices = 3\n[[populations]]\ncorpus = "gone.jsonl"\n')
    for named, told in (
        (str(path), "got " + str(tmp_path / "gone.jsonl")),
        ("nonesuch", "must be a TOML file or one of"),
    ):
        result = CliRunner().invoke(emulate, ["run", named, "--output", str(tmp_path / "out")])
        assert result.exit_code == 1
        assert told in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_without_ray_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("emulator.cli.find_spec", lambda name: None)
    result = CliRunner().invoke(emulate, ["run", "first-week", "--engine", "ray"])
    assert result.exit_code == 1
    assert result.output == (
        "Error: --engine ray needs Ray, which is not installed here: "
        "./requirements/setup.sh cluster ~/keychorus-cluster\n"
    )


def test_a_clusters_address_is_for_the_engine_that_has_one():
    result = CliRunner().invoke(emulate, ["run", "first-week", "--ray-address", "192.0.2.7:6379"])
    assert result.exit_code == 2
    assert "--ray-address needs --engine ray" in result.output
