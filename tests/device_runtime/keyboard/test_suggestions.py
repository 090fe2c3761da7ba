import pytest

from device_runtime.keyboard.answers import MAX_TEXT_CHARS


def test_suggestions_are_the_predictors(client):
    answer = client.post("suggestions", json={"text": "see you tom"})
    assert answer.status_code == 200
    assert answer.json == [{"word": "tomorrow", "probability": 1.0}]
    assert len(client.post("suggestions", json={"text": ""}).json) == 3


def test_a_sensitive_field_gets_none(client):
    assert client.post("suggestions", json={"text": "see you tom", "field": "password"}).json == []


def test_the_longest_text_is_answered_and_a_longer_one_refused(client):
    assert client.post("suggestions", json={"text": "\0" * MAX_TEXT_CHARS}).status_code == 200
    assert client.post("suggestions", json={"text": "x" * (MAX_TEXT_CHARS + 1)}).status_code == 400
    assert client.post("suggestions", json={"text": "x", "field": "novel"}).status_code == 400


@pytest.mark.parametrize("body", [b'{"text": "\\ud800 \\u0000 "}', '{"text": "\U0001f600 שלום "}'.encode()])
def test_odd_text_is_answered(client, body):
    assert client.post("suggestions", data=body, content_type="application/json").status_code in (200, 400)


def test_typed_text_is_not_logged(client, caplog, capfd):
    caplog.set_level("DEBUG")
    client.post("suggestions", json={"text": "xylophone quarrel "})
    client.post("suggestions", data=b'{"text": "xylophone', content_type="application/json")
    told = "".join(capfd.readouterr()) + caplog.text
    assert "xylophone" not in told
