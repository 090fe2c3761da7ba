"""How often an address, a device, and somebody who tries to log in may ask.

An address is often not one device: behind one address of a mobile carrier there may be thousands of phones. So an
address's limit only stops a flood, and a device's own limit, counted once its signature was verified, is the tight one.
With the storage `memory://` each worker process counts for itself, so N workers allow N times as much; with `redis://`
all workers of all hosts count together, and each for itself while Redis cannot be reached.
"""

import hashlib
import importlib.util
import logging
import math
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from typing import TypeVar, cast

from flask import Flask, Response, current_app, request
from flask_limiter import ApplicationLimit, Limit, Limiter, RateLimitExceeded
from limits import RateLimitItem
from limits.errors import StorageError
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter, RateLimiter
from werkzeug.middleware.proxy_fix import ProxyFix

from aggregation_service.config import UNLIMITED, ConfigError, ServiceConfig
from aggregation_service.problems import refuse
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.service import current_service

UNLIMITED_PATHS = frozenset({"/health", "/ready", "/metrics"})
"""What asks these is the operator's own, and must be answered most of all when there is a flood."""

NAME_FACTOR = 10
"""How many times `login_rate_limit` a name may fail from all addresses together. Fewer, and whoever knows an operator's
name could keep the operator out from a single address; no bound, and many addresses could guess without end."""

_EXTENSION = "keychorus.limiter"
_OWN_COUNT = "keychorus.limiter.own"

AnswerT = TypeVar("AnswerT")


def install(app: Flask, config: ServiceConfig) -> None:
    """Limits the requests of each address to `app`, and lets `limit_device` and `limit_login` count.

    In a rehearsal, whose clock is a file, days of a fleet pass in seconds at one address: only logins are limited.

    Raises:
      ConfigError: `rate_limit_storage` needs a package that is not installed.

    """
    _check_storage(config.rate_limit_storage)
    logging.getLogger("flask-limiter").setLevel(logging.WARNING)  # its information names addresses and devices
    if config.trusted_proxies:
        hops = config.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]
    rates = _rate(config, config.address_rate_limit)
    limiter = Limiter(
        _address,
        application_limits=[] if rates is None else [ApplicationLimit(rates, key_function=_address)],
        storage_uri=config.rate_limit_storage,
        storage_options={"wrap_exceptions": True},
        in_memory_fallback_enabled=True,
        request_identifier=lambda: request.endpoint or "unknown",  # an address that is none is limited too
    )
    limiter.request_filter(lambda: request.path in UNLIMITED_PATHS)
    limiter.init_app(app)
    app.extensions[_EXTENSION] = limiter
    app.extensions[_OWN_COUNT] = FixedWindowRateLimiter(MemoryStorage())
    app.register_error_handler(RateLimitExceeded, _exceeded)


def limit_device(population: str, device_id: str) -> None:
    """Counts a request of a device whose signature was verified: before that, its name could be anybody's.

    Each population counts for itself: in another one, the same id may be somebody else's.

    Raises:
      Refused: TOO_MANY_REQUESTS: more than `device_rate_limit`.

    """
    config = current_service().config
    rates, key = _rate(config, config.device_rate_limit), ("device", population, device_id)
    for bound in [] if rates is None else _bounds(rates):
        if not _hit(bound, *key):
            raise _exceeded_by(bound, *key)


def limit_login(name: str) -> None:
    """Refuses to check a password after too many failures from this address, or far too many for this name.

    Raises:
      Refused: TOO_MANY_REQUESTS: `login_rate_limit` failed logins from this address, or `NAME_FACTOR` times as many for
        this name from anywhere, counted by `count_failed_login`.

    """
    for bound, *key in _login_bounds(name):
        if not _is_below(bound, *key):
            raise _exceeded_by(bound, *key)


def count_failed_login(name: str) -> None:
    """Counts a failed login, for the address that it came from and for the name."""
    for bound, *key in _login_bounds(name):
        _hit(bound, *key)


def _login_bounds(name: str) -> Iterator[tuple[RateLimitItem, str, str]]:
    # By its hash, for what was typed as a name may have been a password.
    hashed = hashlib.sha256(name.lower().encode()).hexdigest()
    for bound in _bounds(current_service().config.login_rate_limit):
        yield bound, "login address", _address()
        yield type(bound)(bound.amount * NAME_FACTOR, bound.multiples), "login name", hashed


def _bounds(rates: str) -> Iterator[RateLimitItem]:
    """The rates of a text such as `10/minute;50/hour`, as flask-limiter reads them."""
    for window in Limit(rates, key_function=_address):
        yield window.limit


def _hit(bound: RateLimitItem, *key: str) -> bool:
    return _ask(lambda limiter: limiter.hit(bound, *key))


def _is_below(bound: RateLimitItem, *key: str) -> bool:
    return _ask(lambda limiter: limiter.test(bound, *key))


def _exceeded_by(bound: RateLimitItem, *key: str) -> Refused:
    return _too_many(_ask(lambda limiter: limiter.get_window_stats(bound, *key)).reset_time)


def _ask(question: Callable[[RateLimiter], AnswerT]) -> AnswerT:
    """Asks where all workers count, or in this process alone while that cannot be reached.

    flask-limiter's own way round an unreachable storage covers what it counts itself, the requests of addresses.
    """
    try:
        return question(_limiter().limiter)
    except StorageError:
        return question(cast(RateLimiter, current_app.extensions[_OWN_COUNT]))


def _rate(config: ServiceConfig, rates: str) -> str | None:
    return None if rates == UNLIMITED or config.clock_path is not None else rates


def _address() -> str:
    """Who asks: an IPv4 address, or the 64 bits of an IPv6 address that a line is given whole."""
    try:
        address = ip_address(request.remote_addr or "")
    except ValueError:  # a socket of this machine
        return "local"
    return str(address) if address.version == 4 else str(ip_network((address, 64), strict=False))


def _exceeded(_error: RateLimitExceeded) -> Response:
    breached = _limiter().current_limit
    return refuse(_too_many(time.time() if breached is None else breached.window[0]))


def _too_many(reset_at: float) -> Refused:
    wait_s = max(1, math.ceil(reset_at - time.time()))
    return Refused(RefusalKind.TOO_MANY_REQUESTS, "too many requests; ask again later", {"Retry-After": str(wait_s)})


def _limiter() -> Limiter:
    return cast(Limiter, current_app.extensions[_EXTENSION])


def _check_storage(uri: str) -> None:
    scheme = uri.partition(":")[0]
    if scheme != "memory" and importlib.util.find_spec("redis") is None:
        raise ConfigError(f"rate_limit_storage {scheme}:// needs the Python package redis, which is not installed")
