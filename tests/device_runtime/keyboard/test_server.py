import threading

import pytest

from device_runtime.environment import new_session
from device_runtime.keyboard.app import create_keyboard_app, new_token
from device_runtime.keyboard.server import bind_keyboard


@pytest.fixture
def address(predictor):
    token = new_token()
    server = bind_keyboard(create_keyboard_app(predictor, token, model_version=7))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/{token}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_serves_loopback_only_and_says_nothing(address, capfd, caplog):
    caplog.set_level("DEBUG", logger="werkzeug")
    with new_session() as session:
        answer = session.post(address + "suggestions", json={"text": "see you tom"}, timeout=10)
    assert [each["word"] for each in answer.json()] == ["tomorrow"]
    assert address.split("/")[3] not in caplog.text + "".join(capfd.readouterr())


def test_a_taken_port_is_an_os_error(address, predictor):
    app = create_keyboard_app(predictor, new_token(), model_version=7)
    with pytest.raises((OSError, SystemExit)):
        bind_keyboard(app, int(address.split(":")[2].split("/")[0]))
