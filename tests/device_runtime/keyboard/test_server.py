import pytest

from device_runtime.environment import new_session
from device_runtime.keyboard.app import create_keyboard_app, new_token
from device_runtime.keyboard.server import bind_keyboard


def test_it_serves_loopback_only_and_says_nothing(running, capfd, caplog):
    caplog.set_level("DEBUG", logger="werkzeug")
    origin = "/".join(running.address.split("/")[:3])
    with new_session() as session:
        answer = session.post(
            running.address + "suggestions", json={"text": "see you tom"}, headers={"Origin": origin}, timeout=10
        )
    assert [each["word"] for each in answer.json()] == ["tomorrow"]
    assert running.address.split("/")[3] not in caplog.text + "".join(capfd.readouterr())


def test_a_taken_port_is_an_os_error(running, keyboard):
    app = create_keyboard_app(keyboard, new_token())
    with pytest.raises((OSError, SystemExit)):
        bind_keyboard(app, int(running.address.split(":")[2].split("/")[0]))
