"""A keyboard page on a real log, diary and predictor: as a client, as a running server, and in a real browser."""

import contextlib
import sqlite3
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from device_runtime.diary import Diary
from device_runtime.keyboard.app import create_keyboard_app, new_token
from device_runtime.keyboard.device import KeyboardDevice
from device_runtime.keyboard.privacy import privacy_line
from device_runtime.keyboard.server import bind_keyboard
from device_runtime.typing_log import TypingLog

TOKEN = "t" * 32
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
STATEMENT = b'{"epsilon": 8.0, "delta": 1e-6, "unit": "one device\'s whole log (zero-out)"}'


@dataclass
class Learner:
    """Stands for personalisation: keeps what it was given."""

    learnt: list[str] = field(default_factory=list)

    def learn(self, text):
        self.learnt.append(text)


@pytest.fixture
def learner():
    return Learner()


@pytest.fixture
def empty_log(tmp_path):
    with TypingLog(tmp_path / "typing_log.sqlite") as log:
        yield log


@pytest.fixture
def diary(tmp_path):
    with contextlib.closing(Diary(tmp_path / "diary.sqlite")) as diary:
        yield diary


@pytest.fixture
def keyboard(*, tmp_path, empty_log, diary, predictor, learner):
    return KeyboardDevice(
        data_directory=tmp_path,
        log=empty_log,
        diary=diary,
        predictor=predictor,
        personal=learner,
        model_version=7,
        privacy=privacy_line(STATEMENT),
        population="tests",
    )


class Client:
    """Flask's test client as the page itself: its requests name their origin."""

    def __init__(self, app, token=TOKEN):
        self._client = app.test_client()
        self._token = token

    def get(self, path, **arguments):
        return self._client.get(f"/{self._token}/{path}", **arguments)

    def post(self, path, **arguments):
        headers = {"Origin": "http://localhost"} | arguments.pop("headers", {})
        return self._client.post(f"/{self._token}/{path}", headers=headers, **arguments)


@pytest.fixture
def client(keyboard):
    return Client(create_keyboard_app(keyboard, TOKEN))


@dataclass
class RunningPage:
    """A page that is served, and the data directory behind it."""

    address: str
    data_directory: Path

    def stored_rows(self):
        """Rows of the log's table of messages, read past the log itself."""
        with contextlib.closing(sqlite3.connect(self.data_directory / "typing_log.sqlite")) as database:
            return database.execute("SELECT count(*) FROM messages").fetchone()[0]

    def log(self):
        """The same log as another process would open it."""
        return TypingLog(self.data_directory / "typing_log.sqlite")


@pytest.fixture
def running(keyboard, tmp_path):
    token = new_token()
    server = bind_keyboard(create_keyboard_app(keyboard, token))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield RunningPage(f"http://127.0.0.1:{server.server_port}/{token}/", tmp_path)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    engines = pytest.importorskip("playwright.sync_api", reason="the page is tested in a browser only with playwright")
    if not CHROMIUM.exists():
        pytest.skip(f"the page is tested in a browser only with {CHROMIUM}")
    with engines.sync_playwright() as kinds:
        launched = kinds.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser, running):
    """Opens the page in a fresh profile; at the end nothing may have gone wrong in it, nor gone elsewhere."""
    expect = pytest.importorskip("playwright.sync_api").expect
    opened = []

    def open_page(**options):
        context = browser.new_context(permissions=["clipboard-read", "clipboard-write"], **options)
        page = context.new_page()
        page.errors, page.hosts, page.expected = [], set(), "\0"  # `expected`: part of the browser's own complaints
        page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("request", lambda request: page.hosts.add(urlsplit(request.url).netloc))
        page.goto(running.address)
        expect(page.locator(".suggestion:enabled")).to_have_count(3)
        expect(page.locator('[data-figure="model"]')).to_have_text("7")
        opened.append((context, page))
        return page

    yield open_page
    for context, page in opened:
        context.close()
        assert [error for error in page.errors if page.expected not in error] == []
        assert page.hosts == {urlsplit(running.address).netloc}


@pytest.fixture
def page(open_page):
    return open_page()


@pytest.fixture
def phone(open_page):
    """A small phone that is touched."""
    return open_page(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
