"""A stub of adb's host server, for every test that needs a made-up Android device."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture
def adb_server():
    path = Path(__file__).with_name("adb_stub.py")
    spec = importlib.util.spec_from_file_location("adb_stub", path)
    stub = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stub)
    server = stub.AdbStub(stub.Device())
    yield server
    server.close()
