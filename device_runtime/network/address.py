"""Which addresses a device may speak to: encrypted ones, and this very machine."""

import ipaddress
from urllib.parse import urlsplit


class InsecureAddress(Exception):
    """A service address that would send updates over the network unencrypted."""


def check_address(base_url: str) -> str:
    """Returns `base_url` without its last slash, if devices may use it.

    Raises:
      InsecureAddress: not https, and not http to this very machine.

    """
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port  # reading the port checks it
    except ValueError:
        raise InsecureAddress("a service address must be a URL") from None
    if not host or parts.username or parts.query or parts.fragment:
        raise InsecureAddress("a service address must be scheme, host and path only")
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)):
        return base_url.rstrip("/")
    raise InsecureAddress(f"a service address must be https, or http to this machine, got {parts.scheme} to {host}")


def is_loopback(host: str) -> bool:
    """Whether `host` is this very machine.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("127.0.0.1.example.org")
    (True, True, True, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
