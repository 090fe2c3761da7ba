import pytest
from click.testing import CliRunner

from device_runtime.cli import device
from device_runtime.diary import DIARY_FILE, Diary
from device_runtime.keyboard.privacy import NO_STATEMENT
from device_runtime.releases.release import PUBLIC_KEY_FILE, open_release, read_public_key
from device_runtime.rounds.outcome import Event
from device_runtime.rounds.terms import TermsFile, Wishes
from device_runtime.typing_log import TypingLog
from protocol.plan import PrivacyPromise


@pytest.fixture
def status(tmp_path):
    """Runs the command, and gives its lines."""

    def run():
        result = CliRunner().invoke(device, ["status", "--population", "english", "--data-dir", str(tmp_path)])
        assert result.exit_code == 0
        return result.output.splitlines()

    return run


def test_rounds_and_log_are_told_together(status, tmp_path):
    with TypingLog(tmp_path / "typing_log.sqlite") as log:
        log.consent = True
        log.append("xylophone quarrel", "chat")
    lines = status()
    assert lines[:7] == [
        "phase              waiting",
        "enrolment          not yet; the service is asked before the first check-in",
        "rounds reported    0",
        "newest model       0",
        "next check-in in   0 s",
        "promised           not known yet; a round's plan says it",
        "you ask for        not known; `keychorus device run` has not run here",
    ]
    assert "messages held      1" in lines
    assert not any("xylophone" in line for line in lines)


def test_what_is_promised_and_asked_for_is_told(status, tmp_path, plan):
    terms = TermsFile(tmp_path / "english")
    terms.note_wishes(Wishes(weakest_promise=PrivacyPromise(max_epsilon=4.0, delta=1e-6)))
    with terms.noting(plan):
        pass
    lines = status()
    assert "promised           nothing: what rounds cost has no stated bound" in lines
    assert "clipped to         norm 0.25: how far one report moves a sum, at most" in lines
    assert "you ask for        ε ≤ 4 at δ ≤ 1e-06" in lines


def test_the_kept_releases_statement_is_told_in_words(status, release_folder, monkeypatch):
    key = read_public_key(release_folder / PUBLIC_KEY_FILE)
    monkeypatch.setattr("device_runtime.commands.status.kept_release", lambda *_: open_release(release_folder, key))
    assert f"its model          {NO_STATEMENT}" in status()


def test_the_discoveries_that_it_voted_in_are_told(status, tmp_path):
    with Diary(tmp_path / DIARY_FILE, clock=lambda: 1_700_000_000.0) as diary:
        diary.record(Event.TRAINED, numbers={"steps": 3})
        for level in range(1, 8):
            diary.record(Event.VOTED, numbers={"level": level, "levels": 7, "votes": level % 2})
    told = [line for line in status() if line.startswith("voted for words")]
    assert told[:2] == [
        "voted for words    level 7 of 7 on 2023-11-14, 1 vote",
        "voted for words    level 6 of 7 on 2023-11-14, 0 votes",
    ]
    assert len(told) == 5
