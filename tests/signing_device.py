"""A device made of a key and requests: what tests send to a service over whatever carries requests."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol import routes
from protocol.enrolment import Enrol
from protocol.manifest import encode_public_key
from protocol.messages import CheckIn, Selected, encode_message
from protocol.signed_requests import sha256_hex, sign_request
from protocol.update import UPDATE_MEDIA_TYPE


@dataclass(frozen=True)
class SignedRequest:
    """What a carrier needs: method, path, headers and body."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class SigningDevice:
    """One device of one population of the service of a public key."""

    population: str
    service: Ed25519PublicKey
    now: Callable[[], float] = time.time
    device_id: str = field(default_factory=lambda: secrets.token_hex(16))
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def sign(self, method: str, path: str, body: bytes, **headers: str) -> SignedRequest:
        """Signs any request."""
        signed = sign_request(
            self.key,
            service=self.service,
            method=method,
            path=path,
            body_sha256=sha256_hex(body),
            device_id=self.device_id,
            at=int(self.now()),
            nonce=secrets.token_hex(16),
        )
        return SignedRequest(method, path, {**headers, **signed}, body)

    def enrol(self, token: str | None = None) -> SignedRequest:
        """Asks to be enrolled."""
        message = Enrol(device_id=self.device_id, public_key=encode_public_key(self.key.public_key()), token=token)
        return self._post(routes.devices(self.population), encode_message(message))

    def check_in(self, num_examples: int = 100) -> SignedRequest:
        """Asks for work."""
        message = CheckIn(device_id=self.device_id, runtime="test", num_examples=num_examples)
        return self._post(routes.check_ins(self.population), encode_message(message))

    def report(self, selected: Selected, update: bytes) -> SignedRequest:
        """Reports an encoded update."""
        path = routes.report(selected.round_id, selected.assignment_id)
        headers = {"Authorization": f"Bearer {selected.assignment_token}", "Content-Type": UPDATE_MEDIA_TYPE}
        return self.sign("PUT", path, update, **headers)

    def _post(self, path: str, body: bytes) -> SignedRequest:
        return self.sign("POST", path, body, **{"Content-Type": "application/json"})
