import re

import pytest

from device_runtime.keyboard.app import MAX_TEXT_CHARS, create_keyboard_app, new_token

TOKEN = "t" * 32


@pytest.fixture
def page(predictor):
    return create_keyboard_app(predictor, TOKEN, model_version=7).test_client()


def ask(page, **arguments):
    return page.post(f"/{TOKEN}/suggestions", **arguments)


def test_suggestions_are_the_predictors(page, predictor):
    answer = ask(page, json={"text": "see you tom"})
    assert answer.status_code == 200
    assert answer.json == [{"word": "tomorrow", "probability": 1.0}]
    assert len(ask(page, json={"text": ""}).json) == 3


def test_without_the_token_nothing_is_there(page):
    for path in ("/", "/suggestions", "/static/keyboard.js", f"/{'u' * 32}/", f"/{'u' * 32}/static/keyboard.js"):
        assert page.get(path).status_code == 404
    assert page.post(f"/{'u' * 32}/suggestions", json={"text": ""}).status_code == 404


def test_page_and_files_carry_a_strict_policy(page):
    for path in ("", "static/keyboard.js", "static/keyboard.css", "static/chorus.svg"):
        answer = page.get(f"/{TOKEN}/{path}")
        assert answer.status_code == 200
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        answer.close()


def test_page_has_no_inline_script_or_style_and_nothing_from_elsewhere(page):
    html = page.get(f"/{TOKEN}/").text
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html)
    assert not re.search(r"<script(?![^>]*\ssrc=)", html)
    sources = re.findall(r"(?:src|href)=\"([^\"]+)\"", html)
    assert sources
    assert all(source.startswith("static/") for source in sources)
    assert "Model 7" in html


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", "192.0.2.1"])
def test_a_name_that_was_rebound_to_this_machine_is_refused(page, host):
    assert page.get(f"/{TOKEN}/", headers={"Host": host}).status_code == 403
    assert ask(page, json={"text": ""}, headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:5000", "localhost", "localhost:80", "[::1]:80"])
def test_loopback_names_are_served(page, host):
    assert page.get(f"/{TOKEN}/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ({"data": b"{", "content_type": "application/json"}, 400),
        ({"data": b"\xff", "content_type": "application/json"}, 400),
        ({"json": {"text": 5}}, 400),
        ({"json": {}}, 400),
        ({"json": {"text": "", "more": 1}}, 400),
        ({"json": {"text": "x" * (MAX_TEXT_CHARS + 1)}}, 400),
        ({"data": b"x" * 100_000, "content_type": "application/json"}, 413),
        ({"data": {"text": "a form of another site"}}, 415),
    ],
)
def test_malformed_requests_are_refused(page, arguments, status):
    assert ask(page, **arguments).status_code == status


@pytest.mark.parametrize("body", [b'{"text": "\\ud800 \\u0000 "}', '{"text": "\U0001f600 שלום "}'.encode()])
def test_odd_text_is_answered(page, body):
    assert ask(page, data=body, content_type="application/json").status_code in (200, 400)


def test_tokens_are_random_and_long_enough(predictor):
    assert len({new_token() for _ in range(50)}) == 50
    assert len(new_token()) >= 32
    with pytest.raises(ValueError, match="at least 16 characters, got 0"):
        create_keyboard_app(predictor, "", model_version=7)


def test_typed_text_is_not_logged(page, caplog, capfd):
    caplog.set_level("DEBUG")
    ask(page, json={"text": "xylophone quarrel "})
    ask(page, data=b'{"text": "xylophone', content_type="application/json")
    told = "".join(capfd.readouterr()) + caplog.text
    assert "xylophone" not in told
