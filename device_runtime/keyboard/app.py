"""The page's Flask app. What is typed comes in as a request's body, and is answered.

Nothing of it is stored; the predictor holds the word ids of the last text in memory, until the next text or the end.
"""

import secrets
import threading
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from flask import Flask, Response, render_template, request

from device_runtime.client import is_loopback
from device_runtime.predictor import Predictor

MAX_TEXT_CHARS = 8_000
_MAX_BODY_BYTES = 64 * 1024

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class SuggestionRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What the page sends after each keystroke: the text before the cursor."""

    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARS)]


def new_token() -> str:
    """A random part of the page's address: other users and pages of the machine cannot guess it."""
    return secrets.token_urlsafe(24)


def create_keyboard_app(predictor: Predictor, token: str, *, model_version: int) -> Flask:
    """Makes the app.

    Args:
      predictor: of this app alone; its state follows the one page that is typed on.
      token: first part of every address, see `new_token`.
      model_version: shown on the page.

    Raises:
      ValueError: the token is shorter than 16 characters.

    """
    if len(token) < 16:
        raise ValueError(f"token must have at least 16 characters, got {len(token)}")
    app = Flask(__name__, static_url_path=f"/{token}/static")
    app.config["MAX_CONTENT_LENGTH"] = _MAX_BODY_BYTES
    lock = threading.Lock()

    @app.before_request
    def refuse_strangers() -> Response | None:
        """A foreign name that resolves to this machine (DNS rebinding) is not served, whatever it knows."""
        host = urlsplit(f"//{request.host}").hostname or ""
        return None if is_loopback(host) else _refusal(403, "open the page by its loopback address")

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    @app.get(f"/{token}/")
    def page() -> str:
        return render_template("keyboard.html", model_version=model_version, max_text_chars=MAX_TEXT_CHARS)

    @app.post(f"/{token}/suggestions")
    def suggestions() -> Response:
        if request.mimetype != "application/json":
            return _refusal(415, "send application/json")
        try:
            message = msgspec.json.decode(request.get_data(), type=SuggestionRequest)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _refusal(400, f"send an object with a text of at most {MAX_TEXT_CHARS} characters")
        with lock:
            found = predictor.suggest(message.text)
        return _json([{"word": each.word, "probability": each.probability} for each in found])

    return app


def _json(value: object, status: int = 200, media_type: str = "application/json") -> Response:
    return Response(msgspec.json.encode(value), status, content_type=media_type)


def _refusal(status: int, title: str) -> Response:
    problem = {"type": "about:blank", "title": title, "status": status}
    return _json(problem, status, "application/problem+json")
