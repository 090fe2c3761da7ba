"""The page in a real browser: headless Chromium, as a person uses it."""

import re
import threading
from pathlib import Path

import pytest

from device_runtime.keyboard.app import create_keyboard_app, new_token
from device_runtime.keyboard.server import bind_keyboard

playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested in a browser only with playwright")

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"the page is tested in a browser only with {CHROMIUM}")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as engines:
        running = engines.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def server(predictor):
    token = new_token()
    running = bind_keyboard(create_keyboard_app(predictor, token, model_version=7))
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    running.address = f"http://127.0.0.1:{running.server_port}/{token}/"
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def page(browser, server):
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.errors = []
    page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(server.address)
    expect_words(page, 3)
    yield page
    assert page.errors == []
    context.close()


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


def test_screen_readers_are_told(page):
    type_text(page, "see you tom")
    playwright.expect(page.get_by_role("button", name="tomorrow, suggestion 1")).to_be_visible()
    playwright.expect(page.get_by_role("textbox", name="Your text")).to_be_visible()
    playwright.expect(page.locator("#announcer")).to_have_text("tomorrow")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(360, 640), (390, 844), (1280, 800)], ids=["small phone", "phone", "desktop"])
def test_nothing_overflows_and_contrast_is_enough(page, size, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    type_text(page, "see you ")
    expect_words(page, 3)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    strip = page.locator("#strip").bounding_box()
    assert strip["y"] + strip["height"] <= size[1]
    for selector in (".word", "#status", ".tagline"):
        assert contrast(page, selector) >= 4.5, selector
    for button in page.locator(".suggestion").all():
        assert button.bounding_box()["height"] >= 48


def contrast(page, selector):
    """WCAG 2's contrast ratio of an element's text against what lies behind it."""
    foreground, background = page.evaluate(
        """(selector) => {
            const element = document.querySelector(selector);
            let behind = element;
            while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
            const channels = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
            return [channels(getComputedStyle(element).color), channels(getComputedStyle(behind).backgroundColor)];
        }""",
        selector,
    )
    lighter, darker = sorted((luminance(foreground), luminance(background)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(channels):
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_predictor_that_stopped_is_told(browser, server):
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.address)
    expect_words(page, 3)
    page.route("**/suggestions", lambda route: route.abort())
    type_text(page, "s")
    playwright.expect(page.locator("#status")).to_contain_text("keychorus device keyboard")
    expect_words(page, 0)
    page.unroute("**/suggestions")
    type_text(page, "e")
    playwright.expect(page.locator("#status")).not_to_have_class("trouble")
    context.close()
