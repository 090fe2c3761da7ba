import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_runtime.typing_log import Switches, TypingLog
from device_runtime.typing_log.switches import MAX_APP_CHARS, SWITCH_NAMES


def test_a_fresh_log_is_off_and_denies_nothing(open_log):
    assert open_log().switches == Switches(
        consent=False, paused=False, incognito=False, personal=True, deny_list=frozenset()
    )


@pytest.mark.parametrize("name", SWITCH_NAMES)
@pytest.mark.parametrize("on", [True, False])
def test_a_switch_moves_alone_and_another_process_sees_it_at_once(*, open_log, name, on):
    log, other = open_log(), open_log()
    before = {each: getattr(log, each) for each in SWITCH_NAMES}
    setattr(log, name, on)
    assert {each: getattr(other, each) for each in SWITCH_NAMES} == before | {name: on}
    log.close()
    assert getattr(open_log(), name) is on


def test_a_wipe_keeps_them(empty_log):
    empty_log.incognito = True
    empty_log.personal = False
    empty_log.deny_list = {"bank"}
    before = empty_log.switches
    empty_log.wipe()
    assert empty_log.switches == before


def test_the_deny_list_is_replaced_whole(empty_log, open_log):
    other = open_log()
    empty_log.deny_list = ["bank", "dating"]
    assert other.deny_list == {"bank", "dating"}
    empty_log.deny_list = frozenset({"bank"})
    assert other.deny_list == {"bank"}
    assert "deny" not in other.deny_list


@settings(max_examples=30, deadline=None)
@given(apps=st.frozensets(st.text(st.characters(), max_size=20), max_size=5))
def test_any_names_may_be_denied_and_hold(tmp_path_factory, apps):
    path = tmp_path_factory.getbasetemp() / "denied.sqlite"
    with TypingLog(path) as log:
        log.consent = True
        log.deny_list = apps
        assert all(log.append("some words", app) == "denied_app" for app in apps)
        assert all(len(app) <= MAX_APP_CHARS for app in log.deny_list)


def test_endless_names_are_cut(empty_log):
    empty_log.deny_list = {"x" * 100_000}
    assert empty_log.deny_list == {"x" * MAX_APP_CHARS}
    assert empty_log.append("some words", "x" * 100_000) == "denied_app"
