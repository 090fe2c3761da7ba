from device_runtime.conditions import AlwaysEligible
from device_runtime.environment import DeviceEnvironment, new_session


def test_session_takes_nothing_from_its_surroundings(tmp_path, monkeypatch, service):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password words\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9/")
    seen = {}

    def look():
        from flask import Response, request

        seen.update(request.headers)
        return Response("{}", content_type="application/json")

    service.override = look
    with new_session() as session:
        session.get(service.base_url, timeout=10)
    assert "Authorization" not in seen
    assert "User-Agent" in seen


def test_defaults_are_those_of_a_real_device(tmp_path):
    environment = DeviceEnvironment(data_directory=tmp_path, conditions=AlwaysEligible())
    assert environment.clock() > 1_700_000_000
    assert not environment.should_abort()
    assert not environment.is_ending()
    assert 0 <= environment.jitter() < 1
    assert environment.jitter() != environment.jitter()
    environment.http.close()
