import re

import pytest

from device_runtime.keyboard.app import create_keyboard_app, new_token


def test_without_the_token_nothing_is_there(keyboard):
    strangers = create_keyboard_app(keyboard, new_token()).test_client()
    for path in ("/", "/knowledge", "/static/keyboard.js", f"/{'u' * 32}/", f"/{'u' * 32}/static/keyboard.js"):
        assert strangers.get(path).status_code == 404
    for resource in ("suggestions", "messages", "switches", "wipe"):
        own = {"Origin": "http://localhost"}
        assert strangers.post(f"/{'u' * 32}/{resource}", json={}, headers=own).status_code == 404


def test_page_has_no_inline_script_or_style_and_nothing_from_elsewhere(client):
    html = client.get("").text
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html)
    assert not re.search(r"<script(?![^>]*\ssrc=)", html)
    sources = re.findall(r"(?:src|href)=\"([^\"]+)\"", html)
    assert sources
    for source in sources:
        assert source.startswith("static/")
        with client.get(source) as file:
            assert file.status_code == 200
            assert "http" not in file.text.replace("http://www.w3.org/2000/svg", "")


def test_tokens_are_random_and_long_enough(keyboard):
    assert len({new_token() for _ in range(50)}) == 50
    assert len(new_token()) >= 32
    with pytest.raises(ValueError, match="at least 16 characters, got 0"):
        create_keyboard_app(keyboard, "")


def test_every_id_is_there_once_and_every_label_has_its_control(client):
    html = client.get("").text
    ids = re.findall(r"\sid=\"([^\"]+)\"", html)
    assert len(ids) == len(set(ids))
    named = re.findall(r"(?:\sfor|aria-controls|aria-describedby|aria-labelledby)=\"([^\"]+)\"", html)
    assert set(named) <= set(ids)
