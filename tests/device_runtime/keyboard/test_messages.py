import pytest

from device_runtime.keyboard.messages import SENTENCES, Message
from device_runtime.typing_log import Admission


def test_every_admission_has_a_sentence():
    assert set(SENTENCES) == set(Admission)
    assert len(set(SENTENCES.values())) == len(SENTENCES)
    for admission, sentence in SENTENCES.items():
        assert sentence.startswith("Not logged: ") == (admission is not Admission.STORED)


@pytest.mark.parametrize(
    ("consent", "message", "admission"),
    [
        (True, {"text": "see you"}, "stored"),
        (False, {"text": "see you"}, "no_consent"),
        (True, {"text": "?!"}, "no_words"),
        (True, {"text": "", "field": "password"}, "sensitive_field"),
        (True, {"text": "", "field": "one_time_code"}, "sensitive_field"),
    ],
)
def test_the_answer_says_whether_it_was_logged(*, client, empty_log, consent, message, admission):
    empty_log.consent = consent
    answer = client.post("messages", json=message)
    assert answer.json == {"admission": admission, "sentence": SENTENCES[Admission(admission)]}
    assert empty_log.counts().messages == int(admission == "stored")


def test_what_was_sent_is_in_no_log_answer_or_representation(client, caplog, capfd):
    caplog.set_level("DEBUG")
    answer = client.post("messages", json={"text": "xylophone quarrel"})
    told = "".join(capfd.readouterr()) + caplog.text + answer.text + repr(Message(text="xylophone"))
    assert "xylophone" not in told
