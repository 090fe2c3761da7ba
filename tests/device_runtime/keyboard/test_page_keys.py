"""The page's own keys on a phone's screen that is touched."""

import re

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested in a browser only with playwright")


def tap(page, *names):
    for name in names:
        page.locator(f'[data-key="{name}"]').tap()


def expect_text(page, text):
    playwright.expect(page.locator("#text")).to_have_value(text)


def test_keys_are_there_where_a_screen_is_touched_and_only_there(page, phone):
    playwright.expect(page.locator("#keys")).to_be_hidden()
    playwright.expect(phone.locator("#keys")).to_be_visible()
    assert phone.locator("#text").evaluate("(text) => text.inputMode") == "none"  # the phone's own keys stay away
    toggle = phone.get_by_role("button", name="On-screen keys")
    toggle.tap()
    playwright.expect(phone.locator("#keys")).to_be_hidden()
    playwright.expect(toggle).to_have_attribute("aria-pressed", "false")
    assert phone.locator("#text").evaluate("(text) => text.inputMode") == ""


def test_a_message_is_written_accepted_and_sent_by_touch(phone, running):
    with running.log() as log:
        log.consent = True
    tap(phone, *"see", "space", *"you", "space", *"tom")
    playwright.expect(phone.locator(".suggestion .word").first).to_have_text("tomorrow")
    phone.locator(".suggestion").first.tap()
    tap(phone, "?")
    expect_text(phone, "See you tomorrow? ")
    tap(phone, "send")
    playwright.expect(phone.locator("#status")).to_have_text("Logged on this device.")
    expect_text(phone, "")
    with running.log() as log:
        assert [each.text for each in log.messages(100)] == ["See you tomorrow?"]


def test_shift_is_for_one_letter_and_twice_it_stays(phone):
    tap(phone, "a", "b")
    expect_text(phone, "Ab")
    tap(phone, "shift", "c", "d")
    expect_text(phone, "AbCd")
    phone.locator('[data-key="shift"]').dblclick()
    playwright.expect(phone.get_by_role("button", name="Capitals locked")).to_be_visible()
    tap(phone, "e", "f")
    expect_text(phone, "AbCdEF")
    tap(phone, "shift", "g")
    expect_text(phone, "AbCdEFg")


def test_numbers_and_signs_are_a_layer(phone):
    tap(phone, "a", "space", "layer", "4", "2", "#", "layer", "b")
    expect_text(phone, "A 42#b")


def test_backspace_erases_whole_characters_and_repeats_while_held(phone):
    phone.locator("#text").fill("see 👍🏽")
    tap(phone, "backspace")
    expect_text(phone, "see ")
    phone.locator("#text").fill("see you at the station")
    box = phone.locator('[data-key="backspace"]').bounding_box()
    phone.mouse.move(box["x"] + 5, box["y"] + 5)
    phone.mouse.down()
    playwright.expect(phone.locator('[data-key="backspace"]')).to_have_class("key backspace pressed")
    playwright.expect(phone.locator("#text")).not_to_have_value(re.compile("sta"))
    phone.mouse.up()
    left = phone.locator("#text").input_value()
    phone.wait_for_timeout(200)
    expect_text(phone, left)
    assert "see you at the station".startswith(left)


def test_the_middle_of_a_text_is_typed_in(phone):
    phone.locator("#text").fill("see home")
    phone.locator("#text").evaluate("(text) => text.setSelectionRange(4, 4)")
    tap(phone, *"tom")
    playwright.expect(phone.locator(".suggestion .word").first).to_have_text("tomorrow")
    phone.locator(".suggestion").first.tap()
    expect_text(phone, "see tomorrow home")


def test_keys_type_into_the_example_password(phone):
    phone.locator(".kinds").get_by_text("Password", exact=True).tap()
    tap(phone, *"abc")
    playwright.expect(phone.locator("#password")).to_have_value("abc")  # no capital where none was asked for
    playwright.expect(phone.locator(".suggestion:enabled")).to_have_count(0)


def test_keys_are_one_stop_of_tab_and_work_by_keyboard(phone):
    phone.locator("#text").fill("see")
    phone.locator('[data-key="q"]').focus()
    for _ in range(2):
        phone.keyboard.press("ArrowRight")
    phone.keyboard.press("Enter")
    expect_text(phone, "seee")
    assert phone.locator('#keys button[tabindex="0"]').count() == 1


@pytest.mark.parametrize("size", [(360, 640), (412, 915), (740, 360)], ids=["small", "large", "lying"])
def test_keys_fit_the_screen_and_a_finger(open_page, size):
    phone = open_page(viewport={"width": size[0], "height": size[1]}, has_touch=True, is_mobile=True)
    assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for key in phone.locator("#keys button").all():
        box = key.bounding_box()
        assert box["width"] >= 28
        assert box["height"] >= (44 if size[1] > 400 else 36)
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size[0]
        assert box["y"] + box["height"] <= size[1]
    assert phone.locator("#text").bounding_box()["height"] >= 40
