"""A replayer: sends each of its requests twice, as somebody would who recorded them."""

from dataclasses import dataclass
from typing import Any, ClassVar

import requests
from requests.adapters import BaseAdapter

from emulator.adversaries.interface import Adversary
from emulator.adversaries.sessions import wrapped


@dataclass(frozen=True, slots=True)
class Replayer(Adversary):
    """Repeats each signed request to the byte; the service must count it once, and refuse or repeat its answer."""

    name: ClassVar[str] = "replaying"

    def session(self, session: requests.Session) -> requests.Session:
        """Speaks through an adapter that sends twice."""
        return wrapped(session, _Twice)


class _Twice(BaseAdapter):
    """Gives the first answer to the device and throws the second away."""

    def __init__(self, inner: BaseAdapter) -> None:
        super().__init__()
        self._inner = inner

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        if request.method not in ("POST", "PUT") or request.body is None:
            return self._inner.send(request, *args, **options)
        pieces: Any = request.body  # requests' types know no body that is handed over in pieces
        request.body = pieces if isinstance(pieces, bytes) else b"".join(pieces)
        answer = self._inner.send(request, *args, **options)
        _ = answer.content  # read before its connection carries another
        self._inner.send(request, *args, **options).close()
        return answer

    def close(self) -> None:
        """The inner adapter is the other devices', too."""
