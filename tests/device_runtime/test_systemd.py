"""The unit that is shipped runs the command that is there."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import device_runtime
from device_runtime.cli import device

UNIT = Path(device_runtime.__file__).parent / "systemd" / "keychorus-device.service"


@pytest.fixture
def service():
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read_string(UNIT.read_text().replace("\\\n", " "))
    return unit["Service"]


def test_its_command_and_options_exist(service):
    program, *words = service["ExecStart"].split()
    assert program.endswith("/keychorus")
    assert words[:2] == ["device", "run"]
    known = {option for parameter in device.commands["run"].params for option in parameter.opts}
    options = re.findall(r"--[a-z-]+", service["ExecStart"])
    assert {"--service", "--population", "--public-key"} <= set(options) <= known


def test_it_is_ended_by_a_signal_and_comes_back_after_a_failure(service):
    assert "KillSignal" not in service  # SIGTERM, which the daemon knows
    assert (service["Restart"], service["NoNewPrivileges"]) == ("on-failure", "yes")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize(("old", "new", "complains"), [("", "", False), ("UMask", "UMaskk", True)])
def test_systemd_understands_every_line(tmp_path, old, new, complains):
    copy = tmp_path / UNIT.name
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE)
    copy.write_text(text.replace(old, new) if old else text)
    command = ["systemd-analyze", "verify", str(copy)]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stderr
    assert (UNIT.name in told) is complains, told
