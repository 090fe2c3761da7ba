"""Who cannot see the page well, or cannot point: roles and names, order of Tab, contrast, colours, motion."""

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested in a browser only with playwright")

_COLOURS = """
(element) => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const channels = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    let behind = element;
    const ground = () => channels(getComputedStyle(behind).backgroundColor);
    while (behind.parentElement && ground()[3] < 255) behind = behind.parentElement;
    return [channels(getComputedStyle(element).color), ground()];
}
"""


def contrast(locator):
    """WCAG 2's contrast ratio of an element's text against what lies behind it."""
    foreground, background = (channels[:3] for channels in locator.evaluate(_COLOURS))
    lighter, darker = sorted((luminance(foreground), luminance(background)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(channels):
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_measure_of_contrast_is_wcags():
    assert (luminance([255] * 3) + 0.05) / (luminance([0] * 3) + 0.05) == pytest.approx(21)


def focused_name(page):
    return page.evaluate(
        "document.activeElement.getAttribute('aria-label') || document.activeElement.labels?.[0]?.innerText.trim()"
        " || document.activeElement.innerText.trim()"
    )


def test_tab_goes_through_the_page_in_its_order(page):
    page.locator("#text").press_sequentially("see ")
    playwright.expect(page.locator(".suggestion:enabled")).to_have_count(3)
    page.locator("#keys-toggle").focus()
    names = [focused_name(page)]
    for _ in range(10):
        page.keyboard.press("Tab")
        names.append(focused_name(page))
    assert names[:5] == ["On-screen keys", "Dark colours", "What this keyboard knows", "Message", "Your text"]
    assert [name.split(", ")[1] for name in names[5:8]] == ["suggestion 1", "suggestion 2", "suggestion 3"]
    assert names[8:] == ["Send", "Copy", "Clear"]


def test_the_focus_is_visible(page):
    for role, name in (("button", "Dark colours"), ("button", "Copy"), ("button", "What this keyboard knows")):
        page.locator("#text").focus()
        page.keyboard.press("Tab")  # from here on the browser takes the person for one who uses keys
        target = page.get_by_role(role, name=name)
        target.focus()
        assert target.evaluate("(element) => getComputedStyle(element).outlineStyle") == "solid"


def test_screen_readers_are_told(page):
    page.locator("#text").press_sequentially("see you tom")
    playwright.expect(page.get_by_role("button", name="tomorrow, suggestion 1")).to_be_visible()
    playwright.expect(page.get_by_role("textbox", name="Your text")).to_be_visible()
    playwright.expect(page.get_by_role("group", name="Suggestions")).to_be_visible()
    playwright.expect(page.locator("#announcer")).to_have_text("tomorrow")
    assert page.locator("#announcer").get_attribute("aria-live") == "polite"
    assert page.locator("#status").get_attribute("aria-live") == "polite"


def test_everything_that_can_be_operated_has_a_name(phone):
    for locator in phone.locator("button:visible, input:visible, textarea:visible").all():
        name = locator.evaluate(
            "(e) => e.getAttribute('aria-label') || [...(e.labels ?? [])].map((l) => l.innerText).join('')"
            " || e.innerText"
        )
        assert name.strip()
    for name in ("Shift", "Backspace", "Space", "Send", "Numbers and signs", "Comma", "Full stop"):
        playwright.expect(phone.locator("#keys").get_by_role("button", name=name, exact=True)).to_be_visible()
    phone.get_by_role("button", name="What this keyboard knows").tap()
    for name in ("Logging", "Incognito", "Pause", "Personal suggestions"):
        playwright.expect(phone.get_by_role("switch", name=name)).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("size", "touch"),
    [((360, 640), True), ((390, 844), True), ((820, 1100), True), ((1280, 800), False)],
    ids=["small phone", "phone", "tablet", "desktop"],
)
def test_nothing_overflows_and_contrast_is_enough(*, open_page, running, size, touch, scheme):
    with running.log() as log:
        log.incognito = True
    page = open_page(
        viewport={"width": size[0], "height": size[1]},
        has_touch=touch,
        is_mobile=touch,
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    page.locator("#text").press_sequentially("see you")
    page.keyboard.press("Enter")
    page.locator("#text").press_sequentially("see you ")
    playwright.expect(page.locator(".suggestion:enabled")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    strip = page.locator("#strip").bounding_box()
    assert strip["y"] + strip["height"] <= size[1]
    for button in page.locator(".suggestion").all():
        assert button.bounding_box()["height"] >= 48
    check_contrast(page, ".word, #status, .tagline, #notice, .bubble, .outcome, .quiet, .kinds span, kbd, .key, .icon")
    page.get_by_role("button", name="What this keyboard knows").click()
    check_contrast(page, "#panel h2, #panel h3, .switch-label, .switch-about, .figures dt, .figures dd, .fact, .danger")
    page.get_by_role("button", name="Wipe everything…").click()
    check_contrast(page, ".confirm h2, .confirm p, .check span, .confirm .quiet, .confirm .danger")


def check_contrast(page, selectors):
    for selector in selectors.split(", "):
        for element in page.locator(f"{selector}:visible").all():
            assert contrast(element) >= 4.5, selector


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system_until_the_person_chooses(open_page, scheme):
    page = open_page(color_scheme=scheme)

    def is_dark():
        return sum(page.locator("body").evaluate(_COLOURS)[1][:3]) < 3 * 128

    toggle = page.get_by_role("button", name="Dark colours")
    assert is_dark() == (scheme == "dark")
    playwright.expect(toggle).to_have_attribute("aria-pressed", "true" if scheme == "dark" else "false")
    toggle.click()
    assert is_dark() == (scheme == "light")
    toggle.click()
    assert is_dark() == (scheme == "dark")


def test_who_wants_no_motion_gets_none(open_page):
    page = open_page(reduced_motion="reduce")
    for selector in (".sheet", ".likelihood span", ".switch input"):
        assert page.locator(selector).first.evaluate("(e) => getComputedStyle(e).transitionDuration") in ("0s", "")
    page.get_by_role("button", name="What this keyboard knows").click()
    assert page.locator("#panel").evaluate("(e) => getComputedStyle(e).animationName") == "none"


def test_the_policy_stops_what_the_page_should_never_do(page):
    blocked = page.evaluate(
        """async () => {
            const tries = [
                () => fetch("http://127.0.0.1:9/"),
                () => new Promise((resolve, reject) => {
                    const script = document.createElement("script");
                    script.textContent = "window.injected = true";
                    document.body.append(script);
                    setTimeout(() => (window.injected ? resolve() : reject()), 50);
                }),
            ];
            return (await Promise.allSettled(tries.map((each) => each()))).map((each) => each.status);
        }"""
    )
    assert blocked == ["rejected", "rejected"]
    page.expected = "Content Security Policy"
