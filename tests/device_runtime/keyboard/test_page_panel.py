"""The panel in a real browser, against the log's own database."""

import pytest

from device_runtime.rounds.outcome import Event
from device_runtime.rounds.terms import TermsFile

playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested in a browser only with playwright")


def open_panel(page):
    page.get_by_role("button", name="What this keyboard knows").click()
    playwright.expect(page.get_by_role("dialog", name="What this keyboard knows")).to_be_visible()


def send(page, text):
    page.locator("#text").press_sequentially(text)
    page.keyboard.press("Enter")


def expect_figure(page, name, text):
    playwright.expect(page.locator(f'[data-figure="{name}"]')).to_have_text(text)


@pytest.mark.parametrize(
    ("label", "name"),
    [("Logging", "consent"), ("Incognito", "incognito"), ("Pause", "paused"), ("Personal suggestions", "personal")],
)
def test_each_switch_moves_the_logs_own(*, page, running, label, name):
    open_panel(page)
    toggle = page.get_by_role("switch", name=label)
    for _ in range(2):
        wanted = not toggle.is_checked()
        toggle.click()
        told = f"{label} is {'on' if wanted else 'off'}."
        playwright.expect(page.locator("#panel-status")).to_have_text(told)
        playwright.expect(toggle).to_be_checked(checked=wanted)
        with running.log() as log:
            assert getattr(log, name) is wanted


def test_with_consent_messages_are_logged_and_counted_while_the_panel_is_open(page, running):
    page.set_viewport_size({"width": 1280, "height": 800})
    open_panel(page)
    page.get_by_role("switch", name="Logging").click()
    playwright.expect(page.locator("#panel-status")).to_have_text("Logging is on.")
    send(page, "see you tomorrow")  # beside the open panel
    expect_figure(page, "messages", "1")
    expect_figure(page, "words", "3")
    playwright.expect(page.locator('[data-figure="expiry"]')).to_contain_text("expires by itself in")
    assert running.stored_rows() == 1
    assert "tomorrow" not in page.locator("#panel").inner_text()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("incognito", "Not logged: incognito is on."), ("paused", "Not logged: logging is paused.")],
)
def test_incognito_and_pause_type_nothing_into_the_log(*, page, running, name, sentence):
    with running.log() as log:
        log.consent = True
        setattr(log, name, True)
    page.reload()
    notice = page.locator("#notice")
    if name == "incognito":
        playwright.expect(notice).to_have_text("Incognito: nothing you type is logged.")
    send(page, "see you tomorrow")
    playwright.expect(page.locator("#status")).to_have_text(sentence)
    playwright.expect(page.locator("#sent .outcome")).to_have_text(sentence)
    assert running.stored_rows() == 0


def test_a_switch_that_cannot_move_stays_and_says_so(page, running):
    page.expected = "Failed to load resource"
    page.route("**/switches", lambda route: route.fulfill(status=503, json={"detail": "The disk is gone."}))
    open_panel(page)
    page.get_by_role("switch", name="Logging").click()
    playwright.expect(page.locator("#panel-status")).to_have_text("The disk is gone.")
    playwright.expect(page.get_by_role("switch", name="Logging")).not_to_be_checked()
    with running.log() as log:
        assert log.consent is False


def test_what_was_done_is_told_in_numbers(page, diary):
    diary.record(Event.TRAINED)
    diary.record(Event.REPORTED, bytes_up=1_234_567)
    open_panel(page)
    expect_figure(page, "trained", "1")
    expect_figure(page, "reported", "1")
    expect_figure(page, "up", "1.2 MB")
    expect_figure(page, "model", "7")
    playwright.expect(page.locator('[data-figure="last"]')).to_contain_text("It trained last on ")
    playwright.expect(page.locator('[data-figure="privacy"]')).to_contain_text("ε = 8.00 at δ = 1e-06")


def test_what_is_promised_is_shown(page, running, plan):
    with TermsFile(running.data_directory / "tests").noting(plan):
        pass
    open_panel(page)
    terms = page.locator("#terms")
    playwright.expect(terms).to_contain_text("who sees updates")
    playwright.expect(terms).to_contain_text("norm 0.25")


def test_wiping_asks_first_and_then_really_deletes(page, running):
    with running.log() as log:
        log.consent = True
    send(page, "see you tomorrow")
    playwright.expect(page.locator("#status")).to_have_text("Logged on this device.")
    open_panel(page)
    for leave in (lambda: page.get_by_role("button", name="Keep it").click(), lambda: page.keyboard.press("Escape")):
        page.get_by_role("button", name="Wipe everything…").click()
        playwright.expect(page.get_by_role("button", name="Keep it")).to_be_focused()
        leave()
        playwright.expect(page.get_by_role("dialog", name="Wipe everything?")).to_be_hidden()
        assert running.stored_rows() == 1
    page.get_by_role("button", name="Wipe everything…").click()
    page.get_by_role("button", name="Wipe", exact=True).click()
    playwright.expect(page.locator("#panel-status")).to_have_text("Everything was deleted.")
    expect_figure(page, "messages", "0")
    playwright.expect(page.locator("#sent")).to_be_hidden()
    assert running.stored_rows() == 0


@pytest.mark.parametrize("with_key", [False, True])
def test_the_key_is_deleted_only_on_request(page, running, with_key):
    with running.log() as log:
        log.consent = True
    send(page, "see you tomorrow")
    playwright.expect(page.locator("#status")).to_have_text("Logged on this device.")
    key = running.data_directory / "typing_log.key"
    before = key.read_bytes()
    open_panel(page)
    page.get_by_role("button", name="Wipe everything…").click()
    page.get_by_role("checkbox", name="Delete the key").set_checked(with_key)
    page.get_by_role("button", name="Wipe", exact=True).click()
    playwright.expect(page.locator("#panel-status")).to_have_text("Everything was deleted.")
    kept = key.exists() and key.read_bytes() == before
    assert kept is not with_key


def test_another_process_is_seen_without_a_reload(page, running):
    open_panel(page)
    with running.log() as log:
        log.paused = True
    playwright.expect(page.get_by_role("switch", name="Pause")).to_be_checked(timeout=10_000)


def test_the_panel_covers_a_phone_and_gives_the_focus_back(phone):
    toggle = phone.get_by_role("button", name="What this keyboard knows")
    playwright.expect(toggle).to_have_attribute("aria-expanded", "false")
    toggle.tap()
    box = phone.locator("#panel").bounding_box()
    assert (box["width"], box["height"]) == pytest.approx((360, 640))
    assert phone.evaluate("document.getElementById('panel').matches(':modal')")
    assert phone.evaluate("document.getElementById('panel').scrollWidth <= innerWidth")
    phone.keyboard.press("Escape")
    playwright.expect(phone.locator("#panel")).to_be_hidden()
    playwright.expect(toggle).to_have_attribute("aria-expanded", "false")
    playwright.expect(phone.locator("#text")).to_be_focused()


def test_beside_the_text_the_panel_leaves_it_usable(page):
    page.set_viewport_size({"width": 1280, "height": 800})
    open_panel(page)
    assert not page.evaluate("document.getElementById('panel').matches(':modal')")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    sheet, panel = (page.locator(each).bounding_box() for each in (".sheet", "#panel"))
    assert sheet["x"] + sheet["width"] <= panel["x"]
    page.get_by_role("button", name="Close").click()
    playwright.expect(page.locator("#panel")).to_be_hidden()
