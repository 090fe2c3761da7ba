from typing import Any

import msgspec
import pytest

from aggregation_service import audit
from aggregation_service.app import create_app
from aggregation_service.config import ConfigError
from aggregation_service.operators import accounts, login

PRIVATE = "/v1/admin/populations"

pytestmark = pytest.mark.usefixtures("cheap_passwords")


def test_a_login_leads_on_and_a_logout_ends_it(browser: Any, operators: dict[str, str]) -> None:
    one = browser()
    answer = one.get(PRIVATE)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/login?next={PRIVATE}")
    answer = one.log_in("ada", operators["ada"], PRIVATE)
    assert (answer.status_code, answer.headers["Location"]) == (303, PRIVATE)
    assert one.get(PRIVATE).status_code == 200
    assert one.post("/logout", csrf_token=one.token()).status_code == 303
    assert one.get(PRIVATE).status_code == 303


def test_a_cookie_that_was_copied_ends_with_the_logout_and_other_sessions_go_on(
    rehearsal: Any, browser: Any, operators: dict[str, str]
) -> None:
    one, other, thief = browser(), browser(), browser()
    for each in (one, other):
        each.log_in("ada", operators["ada"])
    cookie = one.cookie().value
    thief.client.set_cookie("__Host-keychorus", cookie, secure=True)
    assert thief.get(PRIVATE).status_code == 200
    one.post("/logout", csrf_token=one.token())
    assert (thief.get(PRIVATE).status_code, other.get(PRIVATE).status_code) == (303, 200)
    rehearsal.restart()
    rehearsal.wait(12 * 3600 - 1)
    rehearsal.service.coordinator.tick()  # which deletes what has expired
    again, kept = browser(), browser()
    again.client.set_cookie("__Host-keychorus", cookie, secure=True)
    kept.client.set_cookie("__Host-keychorus", other.cookie().value, secure=True)
    assert (again.get(PRIVATE).status_code, kept.get(PRIVATE).status_code) == (303, 200)
    assert again.post("/logout", csrf_token=again.token()).status_code == 303  # there is nothing to end


def test_a_session_of_a_version_that_could_not_end_it_is_none(
    rehearsal: Any, browser: Any, operators: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    of_today = login._User.get_id
    monkeypatch.setattr(login._User, "get_id", lambda user: of_today(user).rpartition(" ")[0])
    one = browser()
    one.log_in("ada", operators["ada"])
    assert one.get(PRIVATE).status_code == 303


def test_the_cookie_is_for_this_host_and_https_and_no_script(browser: Any, operators: dict[str, str]) -> None:
    one = browser()
    header = one.log_in("ada", operators["ada"]).headers["Set-Cookie"]
    name, _, attributes = header.partition("=")
    assert name == "__Host-keychorus"
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Strict", "Domain"} & set(attributes.split("; ")) == {
        "Secure",
        "HttpOnly",
        "Path=/",
        "SameSite=Strict",
    }


def test_the_session_is_another_after_the_login(browser: Any, operators: dict[str, str]) -> None:
    """Who planted a session before it, or read its token, has nothing."""
    one = browser()
    token = one.token()
    planted = one.cookie().value
    one.post("/login", csrf_token=token, name="ada", password=operators["ada"])
    assert one.cookie().value != planted
    assert one.post("/logout", csrf_token=token).status_code == 400
    assert one.get(PRIVATE).status_code == 200


@pytest.mark.usefixtures("operators")
def test_a_wrong_login_says_nothing_of_the_name(browser: Any) -> None:
    for name in ("ada", "nobody", "", "ADA", "x" * 1000, "'; --"):
        one = browser()
        answer = one.log_in(name, "wrong password")
        assert answer.status_code == 401
        assert "Name or password is wrong" in answer.text
        assert one.get(PRIVATE).status_code == 303


def test_logins_are_in_the_audit_log_without_what_was_typed(
    rehearsal: Any, browser: Any, operators: dict[str, str]
) -> None:
    browser().log_in("ada", operators["ada"])
    browser().log_in("ada", "wrong password")
    browser().log_in("my secret in the wrong field", "wrong password")
    with rehearsal.service.database.read() as connection:
        entries = audit.list_entries(connection, limit=3)
    assert [(entry.actor, entry.action, entry.subject) for entry in reversed(entries)] == [
        ("ada", "login.succeeded", "ada"),
        ("anonymous", "login.failed", "ada"),
        ("anonymous", "login.failed", "unknown name"),
    ]
    assert "secret" not in str(entries)
    assert "wrong" not in str(entries)


def test_a_session_dies_with_its_account_password_and_time(
    rehearsal: Any, browser: Any, operators: dict[str, str]
) -> None:
    disabled, changed, old = browser(), browser(), browser()
    for one, name in ((disabled, "vera"), (changed, "ada"), (old, "ada")):
        one.log_in(name, operators[name])
        assert one.get(PRIVATE).status_code == 200
    rehearsal.wait(12 * 3600 - 1)
    assert old.get(PRIVATE).status_code == 200
    rehearsal.wait(2)
    assert old.get(PRIVATE).status_code == 303
    for one, name in ((disabled, "vera"), (changed, "ada")):
        one.log_in(name, operators[name])
    with rehearsal.service.database.write() as connection:
        accounts.disable(connection, "vera", actor="cli:test", now=rehearsal.now)
        accounts.set_password(connection, "ada", password="another password", actor="cli:test", now=rehearsal.now)
    assert disabled.get(PRIVATE).status_code == 303
    assert changed.get(PRIVATE).status_code == 303


def test_a_session_of_another_key_is_none(rehearsal: Any, browser: Any, operators: dict[str, str]) -> None:
    one = browser()
    one.log_in("ada", operators["ada"])
    rehearsal.config.session_key_path.write_bytes(bytes(32))
    rehearsal.restart()
    other = browser()
    other.client.set_cookie("__Host-keychorus", one.cookie().value, secure=True)
    assert other.get(PRIVATE).status_code == 303


def test_forms_without_their_token_are_refused(browser: Any, operators: dict[str, str]) -> None:
    one = browser()
    refused = one.post("/login", name="ada", password=operators["ada"])
    assert refused.status_code == 400
    assert "did not keep the session" in refused.text
    assert operators["ada"] not in refused.text
    token = one.token()
    elsewhere = one.post(
        "/login", "https://elsewhere.example/", csrf_token=token, name="ada", password=operators["ada"]
    )
    assert elsewhere.status_code == 400
    one.log_in("ada", operators["ada"])
    assert one.post("/logout").status_code == 400
    assert one.post("/logout", csrf_token=token).status_code == 400
    assert one.get(PRIVATE).status_code == 200


def test_a_login_never_leads_elsewhere(browser: Any, operators: dict[str, str]) -> None:
    for path in ("https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example", "x"):
        assert browser().log_in("ada", operators["ada"], path).headers["Location"] == "/dashboard/"


def test_guessing_ends(rehearsal: Any, browser: Any, operators: dict[str, str]) -> None:
    one = browser()
    statuses = [one.log_in("ada", "wrong password").status_code for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    answer = one.log_in("ada", operators["ada"])
    assert answer.status_code == 429
    assert "Too many failed logins" in answer.text
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    answer = rehearsal.request("GET", PRIVATE, auth=("vera", operators["vera"]))  # another name, the same address
    assert (answer.status_code, answer.content_type) == (429, "application/problem+json")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
    there = rehearsal.request("GET", PRIVATE, auth=("vera", operators["vera"]), environ_overrides=elsewhere)
    assert there.status_code == 200
    there = rehearsal.request("GET", PRIVATE, auth=("ada", operators["ada"]), environ_overrides=elsewhere)
    assert there.status_code == 200  # for else anybody could keep her out


def test_guessing_a_name_from_everywhere_ends_too(rehearsal: Any, operators: dict[str, str]) -> None:
    def status(number: int, name: str, password: str) -> int:
        where = {"REMOTE_ADDR": f"192.0.2.{number}"}
        answer = rehearsal.request("GET", PRIVATE, auth=(name, password), environ_overrides=where)
        return int(answer.status_code)

    guesses = [status(number // 8, "ada", "wrong password") for number in range(101)]
    assert guesses == [401] * 100 + [429]
    assert [status(200, name, operators[name]) for name in ("ada", "vera")] == [429, 200]


def test_pages_forbid_scripts_and_frames(browser: Any) -> None:
    headers = browser().get("/login").headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "script" not in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"


def test_devices_get_no_cookie(rehearsal: Any, plan: Any) -> None:
    rehearsal.create_task(plan)
    rehearsal.post_check_in()
    for path in ("/health", "/v1/populations/en-gb/release", "/v1/files/" + "0" * 64):
        response = rehearsal.request("GET", path)
        assert "Set-Cookie" not in response.headers
        assert "Cookie" not in response.headers.get("Vary", "")


def test_no_session_key_no_service(rehearsal: Any) -> None:
    rehearsal.config.session_key_path.unlink()
    with pytest.raises(ConfigError, match=r"no session key .* `keychorus service key session` makes one"):
        create_app(rehearsal.config)


def test_without_secure_cookies_the_name_claims_nothing(rehearsal: Any) -> None:
    path = rehearsal.folder / "service.toml"
    path.write_text(path.read_text().replace("cookie_secure = true", "cookie_secure = false"))
    rehearsal.restart()
    header = rehearsal.request("GET", "/login").headers["Set-Cookie"]
    assert header.startswith("keychorus=")
    assert "Secure" not in header
    assert "HttpOnly" in header


def test_basic_is_a_login_too(rehearsal: Any, operators: dict[str, str]) -> None:
    answer = rehearsal.request("GET", PRIVATE, auth=("vera", operators["vera"]))
    assert [one["population"] for one in msgspec.json.decode(answer.data)["populations"]] == ["en-gb"]
    assert "Set-Cookie" not in answer.headers
    for headers in ({}, {"Authorization": "Basic !"}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eA=="}):
        answer = rehearsal.request("GET", PRIVATE, headers=headers)
        assert (answer.status_code, answer.content_type) == (401, "application/problem+json")
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
