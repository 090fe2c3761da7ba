"""A service that lies to its devices: what it says of rounds and groups is changed on the way out.

The real service answers, and whoever wrote this wants more than it gives. No device should follow; the fleet's report
counts those that refuse, by why. The lie of the hour stands in a file, so that a scenario's events can change it.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocol.manifest import decode_manifest, sign_manifest
from protocol.messages import CheckInAnswer, Selected, decode_message, encode_message
from protocol.secure_aggregation.messages import Roster, decode, encode, split_bytes

WsgiApp = Callable[..., Iterable[bytes]]
_DIGEST_BYTES = 32


class Lie(NamedTuple):
    """A way to change an answer.

    Attributes:
      about: how the paths of such answers end.
      told: what it does, for the report.
      change: the answer's bytes to others.

    """

    about: str
    told: str
    change: Callable[[bytes], bytes]


def with_keys_of_its_own(payload: bytes) -> bytes:
    """A roster in which a neighbour's keys are the service's, so that it could open what is sealed for that neighbour.

    Where all members are neighbours the list of digests is made to fit, and only the missing signature is wrong. On a
    ring another list would be another ring, so it stays as it was, and gives the lie away.
    """
    roster = decode(payload, Roster)
    victim, *others = roster.neighbours
    keys = {name: _public_key() for name in ("mask_key", "encryption_key")}
    forged = msgspec.structs.replace(victim, **keys)
    if len(roster.neighbours) < len(roster.digests) // _DIGEST_BYTES - 1:
        return encode(msgspec.structs.replace(roster, neighbours=(forged, *others)))
    listed = split_bytes(roster.digests, _DIGEST_BYTES, len(roster.digests) // _DIGEST_BYTES, "digests")
    digests = sorted(forged.digest() if each == victim.digest() else each for each in listed)
    neighbours = tuple(sorted((forged, *others), key=lambda bundle: bundle.digest()))
    return encode(msgspec.structs.replace(roster, digests=b"".join(digests), neighbours=neighbours))


def with_threshold_one(payload: bytes) -> bytes:
    """A roster of a group in which each member alone could give the others' secrets away."""
    roster = decode(payload, Roster)
    parameters = msgspec.structs.replace(roster.parameters, threshold=1)
    return encode(msgspec.structs.replace(roster, parameters=parameters))


def with_another_signature(payload: bytes) -> bytes:
    """A selection whose files are signed by a key that no device knows; other answers stay as they are."""
    answer: Selected | object = decode_message(payload, CheckInAnswer)  # type: ignore[arg-type]  # msgspec takes unions
    if not isinstance(answer, Selected):
        return payload
    signed = sign_manifest(decode_manifest(answer.manifest.manifest), Ed25519PrivateKey.generate())
    return encode_message(msgspec.structs.replace(answer, manifest=signed))


LIES = {
    "lie-about-keys": Lie("/roster", "the service put keys of its own into the rosters", with_keys_of_its_own),
    "lie-about-threshold": Lie("/roster", "the service lowered the threshold of groups to 1", with_threshold_one),
    "lie-about-signature": Lie("/check-ins", "another key signed what a round asks for", with_another_signature),
}
"""By the names that scenarios use."""


def tell(path: Path, lie: str | None) -> None:
    """Makes the service whose file this is lie so from its next answer on; None for the truth."""
    path.write_text(lie or "", encoding="utf-8")


class LyingService:
    """A WSGI app that lies as its file says; without a file it does not."""

    def __init__(self, wsgi_app: WsgiApp, path: Path) -> None:
        """Args: `wsgi_app` is the service's; `path` see `tell`."""
        self._wsgi_app = wsgi_app
        self._path = path

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """See WSGI, PEP 3333."""
        lie = self._lie()
        if lie is None or not environ["PATH_INFO"].endswith(lie.about):
            return self._wsgi_app(environ, start_response)
        begun: list[Any] = []
        body = b"".join(self._wsgi_app(environ, lambda *said: begun.append(said)))
        status, headers, *more = begun[-1]
        if status.startswith("200"):
            body = lie.change(body)
            headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
            headers.append(("Content-Length", str(len(body))))
        start_response(status, headers, *more)
        return [body]

    def _lie(self) -> Lie | None:
        try:
            return LIES.get(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None


def _public_key() -> bytes:
    return X25519PrivateKey.generate().public_key().public_bytes_raw()
