from click.testing import CliRunner

from device_runtime.cli import device
from device_runtime.typing_log import TypingLog


def test_rounds_and_log_are_told_together(tmp_path):
    with TypingLog(tmp_path / "typing_log.sqlite") as log:
        log.consent = True
        log.append("xylophone quarrel", "chat")
    result = CliRunner().invoke(device, ["status", "--population", "english", "--data-dir", str(tmp_path)])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[:5] == [
        "phase              waiting",
        "enrolment          not yet; the service is asked before the first check-in",
        "rounds reported    0",
        "newest model       0",
        "next check-in in   0 s",
    ]
    assert "messages held      1" in lines
    assert "xylophone" not in result.output
