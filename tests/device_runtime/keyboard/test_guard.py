import json

import pytest

from device_runtime.keyboard.answers import MAX_BODY_BYTES

POSTS = {
    "suggestions": {"text": ""},
    "messages": {"text": "see you"},
    "switches": {"consent": True},
    "wipe": {"with_key": True},
}


@pytest.mark.parametrize(
    "path", ["", "knowledge", "static/keyboard.js", "static/keyboard.css", "static/chorus.svg", "x"]
)
def test_every_answer_carries_a_strict_policy(client, path):
    with client.get(path) as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", "192.0.2.1"])
def test_a_name_that_was_rebound_to_this_machine_is_refused(client, host):
    assert client.get("", headers={"Host": host}).status_code == 403
    for path, body in POSTS.items():
        headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        assert client.post(path, json=body, headers=headers).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:5000", "localhost", "localhost:80", "[::1]:80"])
def test_loopback_names_are_served(client, host):
    assert client.get("", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({}, 200),
        ({"Origin": "", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost:81"}, 403),
        ({"Origin": "https://localhost"}, 403),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
    ],
)
def test_only_the_page_itself_may_change_anything(*, client, empty_log, path, headers, status):
    assert client.post(path, json=POSTS[path], headers=headers).status_code == status
    assert empty_log.consent == (status == 200 and path == "switches")


def test_a_post_that_does_not_say_where_it_comes_from_is_refused(client):
    bare = client._client
    assert bare.post("/" + "t" * 32 + "/switches", json={"consent": True}).status_code == 403


def test_another_sites_reading_is_refused(client):
    for site, status in {"cross-site": 403, "same-site": 403, "same-origin": 200, "none": 200}.items():
        assert client.get("knowledge", headers={"Sec-Fetch-Site": site}).status_code == status


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ({"data": b"{", "content_type": "application/json"}, 400),
        ({"data": b"\xff\xfe xylophone", "content_type": "application/json"}, 400),
        ({"data": b'"xylophone"', "content_type": "application/json"}, 400),
        ({"json": {"text": ["xylophone"]}}, 400),
        ({"json": {"text": "xylophone", "with_key": True, "more": 1}}, 400),
        ({"data": b"x" * (MAX_BODY_BYTES + 1), "content_type": "application/json"}, 413),
        ({"data": {"text": "xylophone"}}, 415),
        ({"data": b'{"text": "xylophone"}', "content_type": "text/plain"}, 415),
    ],
)
def test_malformed_bodies_are_problems_that_quote_nothing(*, client, path, arguments, status):
    answer = client.post(path, **arguments)
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    problem = json.loads(answer.data)
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"].endswith(".")
    assert "xylophone" not in answer.text


def test_what_is_not_there_is_a_problem_too(client):
    answer = client.get("nothing")
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")
    assert client.get("wipe").status_code == 405
