"""Typing on the page in a real browser: headless Chromium, as a person uses it."""

import contextlib
import re

import pytest

from device_runtime.activity import last_keystroke
from device_runtime.keyboard.answers import MAX_TEXT_CHARS

playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested in a browser only with playwright")


def expect_words(page, count):
    playwright.expect(page.locator(".suggestion:enabled")).to_have_count(count)


def expect_text(page, text):
    playwright.expect(page.locator("#text")).to_have_value(text)


def expect_first(page, word):
    playwright.expect(page.locator(".suggestion .word").first).to_have_text(word)


def type_text(page, text):
    page.locator("#text").press_sequentially(text)
    playwright.expect(page.locator("#strip")).to_have_attribute("aria-busy", "false")


def test_a_person_types_and_taps_a_completion(page):
    type_text(page, "see you tom")
    expect_first(page, "tomorrow")
    expect_words(page, 1)
    page.locator(".suggestion").first.click()
    expect_text(page, "see you tomorrow ")
    expect_words(page, 3)
    type_text(page, "mor")
    expect_first(page, "morning")
    expect_text(page, "see you tomorrow mor")  # the text kept the focus
    playwright.expect(page.locator("#status")).to_contain_text("5 keystrokes saved")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_person_takes_words_by_key(page, number):
    type_text(page, "see ")
    expect_words(page, 3)
    word = page.locator(".suggestion .word").nth(number - 1).text_content()
    page.keyboard.press(f"Alt+Digit{number}")
    expect_text(page, f"see {word} ")


def test_digits_in_the_text_stay_digits(page):
    type_text(page, "at 3")
    expect_text(page, "at 3")


def test_the_strip_is_reached_and_used_by_keys_alone(page):
    type_text(page, "see ")
    expect_words(page, 3)
    words = page.locator(".suggestion .word").all_text_contents()
    page.keyboard.press("Tab")
    playwright.expect(page.locator(".suggestion").first).to_be_focused()
    page.keyboard.press("ArrowRight")
    playwright.expect(page.locator(".suggestion").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect_text(page, f"see {words[1]} ")
    playwright.expect(page.locator("#text")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    playwright.expect(page.locator("#text")).to_be_focused()


def test_punctuation_closes_up_to_a_taken_word(page):
    type_text(page, "see you tom")
    expect_first(page, "tomorrow")
    page.keyboard.press("Alt+Digit1")
    type_text(page, ".")
    expect_text(page, "see you tomorrow. ")
    playwright.expect(page.locator(".suggestion .word").first).to_have_text(re.compile("^[A-Z]"))


def test_a_space_that_was_typed_stays(page):
    type_text(page, "see you ?")
    expect_text(page, "see you ?")


def test_a_word_is_completed_in_the_middle_of_a_text(page):
    type_text(page, "see tom at home")
    for _ in range(8):
        page.keyboard.press("ArrowLeft")
    expect_first(page, "tomorrow")
    page.keyboard.press("Alt+Digit1")
    expect_text(page, "see tomorrow at home")


def test_taking_a_word_can_be_undone(page):
    type_text(page, "see you tom")
    expect_first(page, "tomorrow")
    page.keyboard.press("Alt+Digit1")
    page.keyboard.press("Control+z")
    expect_text(page, "see you tom")


def test_markup_in_the_text_is_text(page):
    type_text(page, "<img src=x onerror=alert(1)> tom")
    expect_first(page, "tomorrow")


def test_a_suggestion_that_vanishes_leaves_room(page):
    height = page.locator("#strip").bounding_box()["height"]
    type_text(page, "zzzz")
    expect_words(page, 0)
    assert page.locator("#strip").bounding_box()["height"] == height


def test_copy_and_clear(page):
    type_text(page, "see you")
    page.locator("#copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == "see you"
    page.locator("#clear").click()
    expect_text(page, "")
    playwright.expect(page.locator("#text")).to_be_focused()


def test_a_very_long_text_is_answered(page):
    page.locator("#text").fill("you " * 25_000 + "tom")
    expect_first(page, "tomorrow")


def test_a_predictor_that_stopped_is_told_and_comes_back(page):
    page.expected = "Failed to load resource"
    page.route("**/suggestions", lambda route: route.abort())
    type_text(page, "s")
    playwright.expect(page.locator("#status")).to_contain_text("keychorus device keyboard")
    expect_words(page, 0)
    page.unroute("**/suggestions")
    type_text(page, "e")
    playwright.expect(page.locator("#status")).not_to_have_class("trouble")


def test_an_overtaken_request_is_superseded(page):
    held = []

    def hold(route):
        held.append(route)

    page.route("**/suggestions", hold)
    page.locator("#text").press_sequentially("see you tom")
    page.unroute("**/suggestions")
    page.locator("#text").press_sequentially("o")
    expect_first(page, "tomorrow")
    for route in held:
        with contextlib.suppress(playwright.Error):  # the page has given it up
            route.fulfill(json=[{"word": "late", "probability": 1.0}])
    page.wait_for_timeout(100)
    expect_first(page, "tomorrow")


def test_a_keystroke_is_noted_as_activity(page, tmp_path):
    type_text(page, "s")
    assert last_keystroke(tmp_path) is not None


def test_enter_sends_and_shift_enter_begins_a_line(page, running):
    with running.log() as log:
        log.consent = True
    type_text(page, "see you")
    page.keyboard.press("Shift+Enter")
    type_text(page, "at home")
    expect_text(page, "see you\nat home")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#status")).to_have_text("Logged on this device.")
    expect_text(page, "")
    playwright.expect(page.get_by_role("list", name="Sent messages").get_by_role("listitem")).to_have_count(1)
    with running.log() as log:
        assert [each.text for each in log.messages(100)] == ["see you\nat home"]


def test_the_button_sends_and_the_text_keeps_the_focus(page, running):
    playwright.expect(page.get_by_role("button", name="Send")).to_be_disabled()
    type_text(page, "see you")
    page.get_by_role("button", name="Send").click()
    playwright.expect(page.locator("#status")).to_have_text("Not logged: logging is off.")
    playwright.expect(page.locator("#text")).to_be_focused()
    expect_first(page, re.compile("^[A-Z]"))  # a new message begins
    assert running.stored_rows() == 0


@pytest.mark.parametrize(
    ("label", "field", "reason"),
    [("Password", "#password", "password field"), ("One-time code", "#code", "one-time code")],
)
def test_sensitive_fields_are_neither_suggested_from_nor_sent_nor_logged(*, page, running, label, field, reason):
    with running.log() as log:
        log.consent = True
    bodies = []
    page.on("request", lambda request: bodies.append(request.post_data or ""))
    page.locator(".kinds").get_by_text(label, exact=True).click()
    playwright.expect(page.locator(field)).to_be_focused()
    playwright.expect(page.locator("#notice")).to_contain_text(reason)
    page.locator(field).press_sequentially("see you tom")
    expect_words(page, 0)
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#status")).to_have_text("Not logged: such a field never is.")
    playwright.expect(page.locator(field)).to_have_value("")
    assert any("messages" in body or "field" in body for body in bodies)
    assert not any("tom" in body or "see" in body for body in bodies)
    assert "see you" not in page.locator("#sent").inner_text()
    assert running.stored_rows() == 0
    page.locator(".kinds").get_by_text("Message", exact=True).click()
    playwright.expect(page.locator("#notice")).to_be_hidden()
    expect_words(page, 3)


def test_the_examples_carry_the_marks_that_keyboards_go_by(page):
    assert page.locator("#password").get_attribute("type") == "password"
    assert page.locator("#code").get_attribute("autocomplete") == "one-time-code"


def test_a_message_beyond_the_bound_is_kept_in_the_field(page):
    page.locator("#text").fill("you " * (MAX_TEXT_CHARS // 4 + 1))
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#status")).to_contain_text(f"may have {MAX_TEXT_CHARS} characters")
    assert len(page.locator("#text").input_value()) > MAX_TEXT_CHARS


def test_a_log_that_fails_does_not_stop_the_page(page):
    page.expected = "Failed to load resource"
    page.route("**/messages", lambda route: route.fulfill(status=503, json={"detail": "The log is gone."}))
    type_text(page, "see you")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#status")).to_have_text("The log is gone.")
    type_text(page, "tom")
    expect_first(page, "tomorrow")
