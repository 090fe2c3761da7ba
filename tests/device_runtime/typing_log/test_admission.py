import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_runtime.typing_log import Admission, FieldKind, Switches
from device_runtime.typing_log import log as module
from device_runtime.typing_log.admission import refusal

OPEN = Switches(consent=True)
booleans = st.booleans()
switches = st.builds(
    Switches,
    consent=booleans,
    paused=booleans,
    incognito=booleans,
    personal=booleans,
    deny_list=st.frozensets(st.sampled_from(["chat", "bank"])),
)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"personal": False}, None),
        ({"consent": False}, Admission.NO_CONSENT),
        ({"incognito": True}, Admission.INCOGNITO),
        ({"paused": True}, Admission.PAUSED),
        ({"deny_list": frozenset({"chat"})}, Admission.DENIED_APP),
        ({"deny_list": frozenset({"bank"})}, None),
    ],
)
def test_one_switch_is_told(change, reason):
    assert refusal(dataclasses.replace(OPEN, **change), "chat", FieldKind.TEXT) is reason


@pytest.mark.parametrize("field", list(FieldKind))
def test_only_plain_text_fields_are_logged(field):
    expected = None if field is FieldKind.TEXT else Admission.SENSITIVE_FIELD
    assert refusal(OPEN, "chat", field) is expected


@given(switches=switches, app=st.sampled_from(["chat", "bank"]), field=st.sampled_from(list(FieldKind)))
def test_a_message_is_admitted_only_if_everything_allows_it(switches, app, field):
    allowed = (
        switches.consent
        and not switches.paused
        and not switches.incognito
        and app not in switches.deny_list
        and field is FieldKind.TEXT
    )
    assert (refusal(switches, app, field) is None) == allowed


@pytest.mark.parametrize("app", ["org.Bank", "ORG.BANK", " org.bank\n"])
def test_a_denied_app_is_known_in_any_case(app):
    assert refusal(dataclasses.replace(OPEN, deny_list=frozenset({"Org.Bank"})), app, FieldKind.TEXT)


@pytest.mark.parametrize(
    ("change", "field", "admission"),
    [
        ({}, FieldKind.TEXT, Admission.STORED),
        ({"consent": False}, FieldKind.TEXT, Admission.NO_CONSENT),
        ({"paused": True}, FieldKind.TEXT, Admission.PAUSED),
        ({"incognito": True}, FieldKind.TEXT, Admission.INCOGNITO),
        ({"deny_list": {"chat"}}, FieldKind.TEXT, Admission.DENIED_APP),
        ({}, FieldKind.PASSWORD, Admission.SENSITIVE_FIELD),
        ({}, FieldKind.ONE_TIME_CODE, Admission.SENSITIVE_FIELD),
        ({}, FieldKind.PAYMENT, Admission.SENSITIVE_FIELD),
    ],
)
def test_the_log_stores_what_is_admitted_and_nothing_else(*, empty_log, change, field, admission):
    for name, value in change.items():
        setattr(empty_log, name, value)
    assert empty_log.append("some words", "chat", field=field) is admission
    assert empty_log.counts().messages == int(admission is Admission.STORED)
    if field is FieldKind.TEXT:
        assert empty_log.extend([("some words", "chat", 1.7e9)]) == int(admission is Admission.STORED)


def test_what_is_not_admitted_is_not_even_looked_at(empty_log):
    class Unreadable(str):
        def encode(self, *_):
            raise AssertionError("looked at")

    assert empty_log.append(Unreadable(), "chat", field=FieldKind.PASSWORD) is Admission.SENSITIVE_FIELD
    empty_log.paused = True
    assert empty_log.append(Unreadable(), "chat") is Admission.PAUSED


def test_a_switch_turned_while_a_message_is_cleaned_still_counts(empty_log, open_log, monkeypatch):
    other = open_log()

    def clean_slowly(*arguments):
        other.incognito = True
        return cleaned(*arguments)

    cleaned = module.clean_message
    monkeypatch.setattr(module, "clean_message", clean_slowly)
    assert empty_log.append("some words", "chat") is Admission.INCOGNITO
    assert empty_log.counts().messages == 0
