import socket
import threading
import time

import pytest
import requests

from device_runtime.environment import new_session
from device_runtime.network.breakable import BreakableAdapter


@pytest.fixture
def silent_service():
    """Accepts connections and never says a word; gives its address and what became of its connections."""
    ends = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def serve():
            connection, _ = listener.accept()
            with connection:
                try:
                    while connection.recv(65536):
                        pass
                    ends.append("closed")
                except ConnectionResetError:
                    ends.append("reset")

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", ends
        thread.join()


def test_a_request_that_waits_is_broken_at_once(silent_service):
    address, ends = silent_service
    with new_session() as session:
        adapter = session.get_adapter(address)
        threading.Timer(0.1, adapter.break_all).start()
        began = time.monotonic()
        with pytest.raises(requests.ConnectionError):
            session.get(address, timeout=10)
        assert time.monotonic() - began < 5
    assert ends in ([], ["closed"], ["reset"])


def test_the_adapter_serves_requests_and_survives_being_broken(service):
    with new_session() as session:
        adapter = session.get_adapter(service.base_url)
        assert isinstance(adapter, BreakableAdapter)
        for _ in range(3):
            assert session.get(service.base_url, timeout=5).status_code == 404
            adapter.break_all()


def test_both_schemes_are_breakable():
    with new_session() as session:
        for scheme in ("http://", "https://"):
            assert isinstance(session.get_adapter(f"{scheme}keys.example.org"), BreakableAdapter)
