import hashlib
from typing import Any

import pytest

from aggregation_service.resources import files
from aggregation_service.storage.files import put_file
from protocol import routes

CONTENT = bytes(range(256)) * 400


def stored(rehearsal: Any) -> str:
    with rehearsal.service.database.write() as connection:
        first, second = put_file(connection, CONTENT), put_file(connection, CONTENT)
    assert first == second
    assert first.sha256 == hashlib.sha256(CONTENT).hexdigest()
    return first.sha256


def test_a_file_may_be_kept_for_ever(rehearsal: Any) -> None:
    sha256 = stored(rehearsal)
    response = rehearsal.request("GET", routes.file(sha256))
    assert response.data == CONTENT
    assert response.headers["ETag"] == f'"{sha256}"'
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    again = rehearsal.request("GET", routes.file(sha256), headers={"If-None-Match": f'"{sha256}"'})
    assert (again.status_code, again.data) == (304, b"")


def test_an_interrupted_download_goes_on(rehearsal: Any) -> None:
    path = routes.file(stored(rehearsal))
    response = rehearsal.request("GET", path, headers={"Range": "bytes=1000-"})
    assert (response.status_code, response.data) == (206, CONTENT[1000:])
    assert response.headers["Content-Range"] == f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}"
    beyond = rehearsal.request("GET", path, headers={"Range": f"bytes={len(CONTENT)}-"})
    assert (beyond.status_code, beyond.content_type) == (416, "application/problem+json")


def test_a_range_is_honoured_only_of_the_file_that_it_was_begun_of(rehearsal: Any) -> None:
    sha256 = stored(rehearsal)
    for tag, status, content in ((sha256, 206, CONTENT[1000:]), ("0" * 64, 200, CONTENT)):
        headers = {"Range": "bytes=1000-", "If-Range": f'"{tag}"'}
        response = rehearsal.request("GET", routes.file(sha256), headers=headers)
        assert (response.status_code, response.data) == (status, content)
    middle = rehearsal.request("GET", routes.file(sha256), headers={"Range": "bytes=5-9"})
    assert (middle.status_code, middle.data, middle.headers["Content-Length"]) == (206, CONTENT[5:10], "5")


@pytest.mark.parametrize(
    ("method", "headers", "answer"),
    [
        ("GET", {}, (200, len(CONTENT))),
        ("GET", {"Range": "bytes=7-7"}, (206, 1)),
        ("GET", {"Range": "bytes=-5"}, (206, 5)),
        ("GET", {"Range": "bytes=0-1,3-4"}, (416, 0)),
        ("GET", {"If-None-Match": "mine"}, (304, 0)),
        ("GET", {"Range": f"bytes={len(CONTENT)}-"}, (416, 0)),
        ("HEAD", {}, (200, 0)),
    ],
)
def test_no_more_is_read_than_is_sent(
    rehearsal: Any, monkeypatch: pytest.MonkeyPatch, method: str, headers: dict[str, str], answer: tuple[int, int]
) -> None:
    loaded: list[bytes] = []

    def watch(name: str) -> None:
        find = getattr(files, name)
        monkeypatch.setattr(files, name, lambda *where: loaded.append(find(*where)) or loaded[-1])

    watch("find_content")
    watch("find_part")
    sha256 = stored(rehearsal)
    sent = {name: f'"{sha256}"' if value == "mine" else value for name, value in headers.items()}
    response = rehearsal.request(method, routes.file(sha256), headers=sent)
    assert (response.status_code, sum(map(len, loaded))) == answer
    if loaded:
        assert response.data == loaded[0]
        assert response.content_length == answer[1]


def test_a_file_that_is_pruned_while_it_is_looked_at_is_unknown(
    rehearsal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "find_content", lambda *_where: None)
    assert rehearsal.request("GET", routes.file(stored(rehearsal))).status_code == 404


def test_a_file_can_be_asked_about_without_its_content(rehearsal: Any) -> None:
    sha256 = stored(rehearsal)
    response = rehearsal.request("HEAD", routes.file(sha256))
    assert (response.status_code, response.data) == (200, b"")
    assert response.headers["Content-Length"] == str(len(CONTENT))
    assert (response.headers["ETag"], response.headers["Accept-Ranges"]) == (f'"{sha256}"', "bytes")
    assert rehearsal.request("HEAD", routes.file("0" * 64)).status_code == 404


def test_an_unknown_file_is_a_problem(rehearsal: Any) -> None:
    for sha256 in ("0" * 64, "..", "%00"):
        response = rehearsal.request("GET", routes.file(sha256))
        assert (response.status_code, response.content_type) == (404, "application/problem+json")
