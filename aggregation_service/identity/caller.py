"""The device that sent a request, once `identity.authentication.authenticate` knows it."""

import hmac
from dataclasses import dataclass

from aggregation_service.refusals import RefusalKind, Refused
from protocol.signed_requests import sha256_hex


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """A device whose signature was verified. What it may do is allowed once: see `identity.nonces.spend`.

    Attributes:
      device_id: whose enrolled key signed the request.
      nonce: of the request.
      expires_at: when the request is refused for its age by any host's clock, in seconds since 1970; its nonce is kept
        until then.
      body_sha256: what was signed as the body's SHA-256; empty where there is no body to check.

    """

    device_id: str
    nonce: str
    expires_at: float
    body_sha256: str = ""

    def check_body(self, body: bytes) -> None:
        """Checks, before anything of a body is used, that it is the one that was signed.

        Raises:
          Refused: BODY_DIGEST: it is another.

        """
        check_digest(body, self.body_sha256)

    def check_device(self, device_id: str) -> None:
        """Checks that the caller speaks for itself.

        Raises:
          Refused: WRONG_DEVICE: `device_id` is another's.

        """
        if not hmac.compare_digest(self.device_id, device_id):
            raise Refused(RefusalKind.WRONG_DEVICE, "a device may only speak for itself")


def check_digest(body: bytes, sha256: str) -> None:
    """Checks that `body` has the SHA-256 that was signed, before anything of it is used.

    Raises:
      Refused: BODY_DIGEST: it has another.

    """
    if not hmac.compare_digest(sha256_hex(body), sha256):
        raise Refused(RefusalKind.BODY_DIGEST, "the body must have the SHA-256 that its Content-Digest says")
