"""Each role installs from its own lock and runs without the others' packages. Builds real environments."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_DEVICE_MB = 150

IMPORTS = {
    "device": "device_runtime.daemon, device_runtime.cli, device_runtime.keyboard.app, device_runtime.releases.release",
    "service": "aggregation_service.wsgi, aggregation_service.cli, aggregation_service.operations",
    "workstation": "model.export, emulator.cli, emulator.demo.run, evaluation.cli, tensorflow",
    "cluster": "ray, emulator.ray_engine, emulator.cli, evaluation.cli, tensorflow",
    "simulation": "tensorflow_federated, model.export, evaluation.cli",
}
ABSENT = {
    "device": ["tensorflow", "sqlalchemy", "gunicorn", "dp_accounting"],
    "service": ["tensorflow", "sentencepiece", "tflite_runtime"],
    "workstation": ["tensorflow_federated", "ray"],
    "cluster": ["tensorflow_federated"],
    "simulation": [],
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module", params=IMPORTS)
def role(request, tmp_path_factory):
    venv = tmp_path_factory.mktemp(request.param) / "venv"
    built = subprocess.run(
        ["sh", str(ROOT / "requirements/setup.sh"), request.param, str(venv)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr[-2000:]
    yield request.param, venv
    subprocess.run(["rm", "-rf", str(venv)], check=True)


def run_python(venv, code):
    return subprocess.run(
        [venv / "bin/python", "-c", code], capture_output=True, text=True, check=False, timeout=300, cwd=venv
    )


def test_it_imports_its_own_and_nobody_elses(role):
    name, venv = role
    ran = run_python(venv, f"import {IMPORTS[name]}\nimport sys\nprint('tensorflow' in sys.modules)")
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.strip() == str(name in {"workstation", "cluster", "simulation"})
    for package in ABSENT[name]:
        assert "ModuleNotFoundError" in run_python(venv, f"import {package}").stderr


def test_its_command_line_works(role):
    _, venv = role
    ran = subprocess.run([venv / "bin/keychorus", "--help"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0
    assert "device" in ran.stdout


def test_the_device_stays_small(role):
    name, venv = role
    if name != "device":
        pytest.skip("the bound is the device's")
    kilobytes = subprocess.run(["du", "-sk", str(venv)], capture_output=True, text=True, check=True).stdout.split()[0]
    assert int(kilobytes) / 1024 < MAX_DEVICE_MB


def test_tensorflow_federated_agrees_with_the_service(role):
    """Runs the tests that need TensorFlow Federated where it is, since here it is not."""
    name, venv = role
    if name != "simulation":
        pytest.skip("the second opinion is the simulation's")
    command = [venv / "bin/python", "-m", "pytest", "-p", "no:cacheprovider", "-m", "slow", "tests/emulator/simulation"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout[-4000:]
    assert "skipped" not in ran.stdout


def test_a_cluster_gives_the_report_that_one_machine_gives(role):
    """Runs the tests that need Ray where it is."""
    name, venv = role
    if name != "cluster":
        pytest.skip("Ray is the cluster's")
    command = [venv / "bin/python", "-m", "pytest", "-p", "no:cacheprovider", "-m", "slow"]
    ran = subprocess.run(
        [*command, "tests/emulator/test_ray_engine.py"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert ran.returncode == 0, ran.stdout[-4000:]
    assert "skipped" not in ran.stdout


def test_the_devices_lock_serves_a_64_bit_raspberry_pi(tmp_path):
    """Downloads what pip would install there; a missing wheel or hash fails."""
    platforms = [f"--platform=manylinux_2_{glibc}_aarch64" for glibc in (17, 24, 27, 28, 34)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", "--python-version=3.11", *platforms, "--platform=manylinux2014_aarch64"]
    command += ["--dest", str(tmp_path), "-r", str(ROOT / "requirements/device.txt")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert any("tflite_runtime" in path.name and "aarch64" in path.name for path in tmp_path.iterdir())
