"""Serves the keyboard page to this machine only, and writes down nothing about it."""

from flask import Flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

HOST = "127.0.0.1"


class _SilentHandler(WSGIRequestHandler):
    """Logs no request: its address holds the token."""

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002  (the base class names it so)
        """Says nothing."""


def bind_keyboard(app: Flask, port: int = 0) -> BaseWSGIServer:
    """A server that is bound to `port` of the loopback interface (0 for any free one) but not yet running.

    Raises:
      OSError: the port is taken.

    """
    return make_server(HOST, port, app, threaded=True, request_handler=_SilentHandler)
