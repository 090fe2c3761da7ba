"""`keychorus emulate`: what it lists, and one sentence for what it cannot run."""

import pytest
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


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--adb"], "--adb must come with --real-time"),
        (["--real-time", "--serial", "emulator-5554"], "--serial must come with --adb"),
    ],
)
def test_a_phone_is_asked_in_real_time_only(options, told):
    result = CliRunner().invoke(emulate, ["run", "first-week", *options])
    assert result.exit_code == 2
    assert told in result.output


def test_a_phone_that_does_not_answer_ends_the_command_before_anything_long(phone, tmp_path):
    phone.fail("error: device offline\n")
    options = ["--real-time", "--adb", "--adb-path", phone.adb, "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(emulate, ["run", "first-week", *options])
    assert result.exit_code == 1
    assert 'get-state must say "device", got "error: device offline"' in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


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


def test_traces_that_are_wrong_are_told_before_anything_long(tmp_path):
    (tmp_path / "traces.csv").write_text("device,condition,start_h,end_h\n0,all,5,4\n")
    path = tmp_path / "mine.toml"
    path.write_text('about = "a test"\ndays = 1\ndevices = 3\n[traces]\ncsv = "traces.csv"\n')
    result = CliRunner().invoke(emulate, ["run", str(path), "--output", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "traces.csv line 2: end_h must be > start_h = 5, got 4" in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_a_folder_is_told(tmp_path):
    (tmp_path / "file").touch()
    result = CliRunner().invoke(emulate, ["run", "first-week", "--output", str(tmp_path / "file" / "out")])
    assert result.exit_code == 1
    assert "--output must be a folder, got " in result.output


def test_a_soaks_help_has_examples():
    result = CliRunner().invoke(emulate, ["soak", "--help"])
    assert "keychorus emulate soak --devices 1000 --rounds 200" in result.output


def test_a_soak_on_a_database_that_is_none_is_told_in_a_sentence(tmp_path):
    result = CliRunner().invoke(
        emulate, ["soak", "--database", "mysql://a:secret@b", "--output", str(tmp_path / "out")]
    )
    assert result.exit_code == 2
    assert "database must be sqlite, postgresql or an address" in " ".join(result.output.split())
    assert "secret" not in result.output
    assert not (tmp_path / "out").exists()


def test_a_lying_service_is_rehearsed_in_virtual_time_only(tmp_path):
    options = ["--real-time", "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(emulate, ["run", "lying-service", *options])
    assert result.exit_code == 1
    assert "events that do lie-about-keys must be lived in virtual time" in " ".join(result.output.split())
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
