"""The pages in a real Chromium: at a desk and on a phone, in light and in dark, nothing missing, nothing from outside.

Pictures go to a temporary folder, or to the one that `KEYCHORUS_PICTURES` names; then of a larger population.
"""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from werkzeug.serving import make_server

from aggregation_service.operators.accounts import Role
from tests.aggregation_service.dashboard.conftest import PASSWORD, PICTURES, visit

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PAGES = {
    "overview": "",
    "population": "populations/en-gb",
    "empty": "populations/de-at",
    "release": "populations/en-gb/releases/1",
    "rollback": "populations/en-gb/rollback",
    "audit": "audit",
}

pytestmark = pytest.mark.parametrize("lived", ["sqlite"], indirect=True, scope="session")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    engines = pytest.importorskip("playwright.sync_api", reason="pages are tested in a browser only with playwright")
    if not CHROMIUM.exists():
        pytest.skip(f"pages are tested in a browser only with {CHROMIUM}")
    with engines.sync_playwright() as kinds:
        launched = kinds.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def address(lived: Any) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, lived.apps[-1], threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = Path(os.environ.get(PICTURES, tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def log_in(page: Any, address: str, name: str) -> None:
    page.goto(f"{address}/dashboard/")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Populations").wait_for()


def watch(page: Any) -> tuple[list[str], set[str]]:
    """What a page complains of, and whom it asks."""
    errors: list[str] = []
    hosts: set[str] = set()
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    return errors, hosts


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_pages_look_right(*, browser: Any, address: str, lived: Any, pictures: Path, width: int, scheme: str) -> None:
    name = visit(lived, Role.OPERATOR).name
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    errors, hosts = watch(page)
    log_in(page, address, name)
    for title, path in PAGES.items():
        assert page.goto(f"{address}/dashboard/{path}").status == 200
        assert page.evaluate("document.documentElement.scrollWidth") == width, "nothing stands out to the right"
        assert page.locator("h1").count() == 1
        page.screenshot(path=pictures / f"dashboard-{title}-{width}-{scheme}.png", full_page=True)
    context.close()
    assert errors == []
    assert hosts == {urlsplit(address).netloc}


def test_charts_are_drawn_and_told(*, browser: Any, address: str, lived: Any) -> None:
    page = browser.new_page()
    log_in(page, address, visit(lived, Role.VIEWER).name)
    page.goto(f"{address}/dashboard/populations/en-gb")
    bars = page.locator(".chart.cohorts .bar rect")
    heights = [bar.bounding_box()["height"] for bar in bars.all()]
    rounds = lived.summary()["rounds"]
    assert len(heights) == 4 * len(rounds)
    reported = [entry["reported"] if entry["phase"] != "abandoned" else 0 for entry in rounds]
    tallest = max(heights[: len(rounds)])
    for height, count in zip(heights, reported, strict=False):
        assert height == pytest.approx(tallest * count / max(reported), abs=1.0)
    assert page.locator(".chart.cohorts title").first.text_content() == f"round 1: {reported[0]} reported"
    assert page.get_by_role("img", name=f"Devices in {len(rounds)} rounds").count() == 1
    fills = {bar.evaluate("bar => getComputedStyle(bar).fill") for bar in bars.all()}
    assert len(fills) == 4, "each part of a cohort has its colour"
    page.close()


def test_a_keyboard_reaches_what_scrolls_and_what_leads_on(*, browser: Any, address: str, lived: Any) -> None:
    page = browser.new_page(viewport={"width": 400, "height": 700})
    log_in(page, address, visit(lived, Role.VIEWER).name)
    page.goto(f"{address}/dashboard/populations/en-gb")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    regions = page.get_by_role("region", name="Table of rounds")
    regions.focus()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Table of rounds"
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("heading", name="Log in").wait_for()
    page.close()
