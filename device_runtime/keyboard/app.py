"""The page's Flask app: one blueprint a resource, all of them below a token that nobody can guess."""

import secrets

from flask import Flask, render_template

from device_runtime.keyboard.answers import MAX_TEXT_CHARS
from device_runtime.keyboard.device import KeyboardDevice
from device_runtime.keyboard.guard import guard
from device_runtime.keyboard.knowledge import knowledge_resource
from device_runtime.keyboard.messages import messages_resource
from device_runtime.keyboard.suggestions import suggestions_resource

_SHORTEST_TOKEN = 16


def new_token() -> str:
    """A random part of the page's address: other users and pages of the machine cannot guess it."""
    return secrets.token_urlsafe(24)


def create_keyboard_app(device: KeyboardDevice, token: str) -> Flask:
    """Makes the app.

    Args:
      device: what the page acts upon.
      token: first part of every address, see `new_token`.

    Raises:
      ValueError: the token is shorter than 16 characters.

    """
    if len(token) < _SHORTEST_TOKEN:
        raise ValueError(f"token must have at least {_SHORTEST_TOKEN} characters, got {len(token)}")
    app = Flask(__name__, static_url_path=f"/{token}/static")
    guard(app)
    for make in (suggestions_resource, messages_resource, knowledge_resource):
        app.register_blueprint(make(device), url_prefix=f"/{token}")

    @app.get(f"/{token}/")
    def page() -> str:
        return render_template("keyboard.html", max_text_chars=MAX_TEXT_CHARS)

    return app
