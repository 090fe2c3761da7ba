"""The service's configuration: a TOML file, and the keys beside it."""

import json
import os
import re
import secrets
import tomllib
from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, get_args, get_type_hints

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

CONFIG_VARIABLE = "KEYCHORUS_SERVICE_CONFIG"
"""Names the configuration file where no command line can: gunicorn's workers build their own app."""

UNLIMITED = "unlimited"
"""A rate limit that is none."""

_KEY_BYTES = 32
_RATES = re.compile("[1-9][0-9]{0,8}/(second|minute|hour|day)(;[1-9][0-9]{0,8}/(second|minute|hour|day))*")
_MAX_SESSION_H = 24 * 7
_STORAGES = ("memory://", "redis://", "rediss://", "redis+unix://")


class ConfigError(Exception):
    """A configuration that the service must not start with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttestationSettings:
    """Whose attestation verdicts count, see `identity.attestation`.

    Attributes:
      key_path: a PEM file with one P-256 public key, or a JWKS file (`.json`) with keys told apart by `kid`.
      package_name: of the genuine app, such as `org.example.keyboard`.
      certificate_sha256: of the certificate that signed it, as verdicts write it: URL-safe base64.

    """

    key_path: Path
    package_name: str
    certificate_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceConfig:
    """Everything that a service needs to know before its database is open.

    Attributes:
      database_url: SQLAlchemy's, such as `sqlite:////var/lib/keychorus/service.sqlite`.
      signing_key_path: raw Ed25519 private key, 32 bytes, readable by its owner only; made by `init`.
      session_key_path: 32 random bytes that operators' sessions are signed with, readable by its owner only; made by
        `init`, or by `key session` for a service that was made before there were operators.
      clock_path: a `FileClock`'s file in rehearsals; None for the system's clock.
      privacy_delta: the delta at which epsilon is told.
      cookie_secure: whether operators' browsers send their session by https only, or by http to a loopback address.
        False only for a browser that refuses the latter, and never on a network.
      session_lifetime_h: hours after which an operator must log in again.
      address_rate_limit: requests of one address, such as "600/minute" or "50/second;600/minute", or "unlimited". An
        address may be that of a carrier's thousands of phones: the limit stops a flood, not a busy street.
      device_rate_limit: signed requests of one device.
      login_rate_limit: failed logins from one address; for one name, from all addresses together, ten times as many.
        It cannot be unlimited.
      rate_limit_storage: where requests are counted: "memory://" in each worker process, or "redis://HOST:PORT" for
        all together.
      log_format: "text" for `key=value` lines, "json" for one JSON object a line.
      trusted_proxies: how many proxies stand before the service, each of which adds to `X-Forwarded-For`; their word
        on a request's address, scheme and id is taken. With too few, all devices share a proxy's address and its
        rate limit; with too many, anybody may forge an address.
      metrics_networks: who may read `/metrics`: networks in CIDR notation, separated by commas.
      request_patience_s: how long a request may keep the service waiting, besides the time its bytes take at
      minimum_bytes_per_s: the slowest rate at which bytes may come and go.
      attestation_key_path, attestation_package_name, attestation_certificate_sha256: see `AttestationSettings`; all
        three, or none of them where no population enrols its devices by attestation.

    Raises:
      ConfigError: a value out of its bound, or an empty `database_url`.

    """

    database_url: str
    signing_key_path: Path
    session_key_path: Path
    clock_path: Path | None = None
    privacy_delta: float = 1e-10
    cookie_secure: bool = True
    session_lifetime_h: float = 12.0
    address_rate_limit: str = "12000/minute"
    device_rate_limit: str = "60/minute"
    login_rate_limit: str = "10/minute"
    rate_limit_storage: str = "memory://"
    log_format: str = "text"
    trusted_proxies: int = 0
    metrics_networks: str = "127.0.0.0/8,::1/128"
    request_patience_s: float = 10.0
    minimum_bytes_per_s: float = 8000.0
    attestation_key_path: Path | None = None
    attestation_package_name: str | None = None
    attestation_certificate_sha256: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.privacy_delta < 1:
            raise ConfigError(f"privacy_delta must be in (0, 1), got {self.privacy_delta}")
        if not self.database_url:
            raise ConfigError("database_url must not be empty")
        if self.log_format not in {"text", "json"}:
            raise ConfigError(f'log_format must be "text" or "json", got {json.dumps(self.log_format)}')
        if not 0 <= self.trusted_proxies <= 10:
            raise ConfigError(f"trusted_proxies must be in 0 to 10, got {self.trusted_proxies}")
        for name in ("request_patience_s", "minimum_bytes_per_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be finite and > 0, got {getattr(self, name)}")
        if not 0 < self.session_lifetime_h <= _MAX_SESSION_H:
            raise ConfigError(f"session_lifetime_h must be in (0, {_MAX_SESSION_H}], got {self.session_lifetime_h}")
        _check_rates(self)
        parse_networks(self.metrics_networks)
        named = [getattr(self, f"attestation_{name}") for name in ("key_path", "package_name", "certificate_sha256")]
        if any(named) and not all(named):
            raise ConfigError("attestation_key_path, _package_name and _certificate_sha256 must be set together")

    @property
    def attestation(self) -> AttestationSettings | None:
        """Whose attestation verdicts count; None for nobody's."""
        path, package = self.attestation_key_path, self.attestation_package_name
        certificate = self.attestation_certificate_sha256
        if not path or not package or not certificate:
            return None
        return AttestationSettings(key_path=path, package_name=package, certificate_sha256=certificate)


def _check_rates(config: ServiceConfig) -> None:
    for name in ("address_rate_limit", "device_rate_limit", "login_rate_limit"):
        rates = getattr(config, name)
        may_be_unlimited = name != "login_rate_limit"
        if not (_RATES.fullmatch(rates) or (may_be_unlimited and rates == UNLIMITED)):
            also = f' or "{UNLIMITED}"' if may_be_unlimited else ""
            raise ConfigError(f'{name} must be a rate such as "600/minute"{also}, got {json.dumps(rates)}')
    if not config.rate_limit_storage.startswith(_STORAGES):
        raise ConfigError(f"rate_limit_storage must begin with one of {', '.join(_STORAGES)}")


def parse_networks(text: str) -> list[IPv4Network | IPv6Network]:
    """Reads networks in CIDR notation, separated by commas.

    Raises:
      ConfigError: one that is not a network.

    """
    try:
        return [ip_network(network.strip()) for network in text.split(",") if network.strip()]
    except ValueError as error:
        raise ConfigError(f"metrics_networks must be networks in CIDR notation: {error}") from None


def load_config(path: Path) -> ServiceConfig:
    """Reads a configuration file; relative paths in it count from its own folder.

    Raises:
      ConfigError: missing, not TOML, or with unknown, missing or wrongly typed settings.

    """
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ConfigError(
            f"cannot read the configuration {path}; `keychorus service init FOLDER` makes a service, with its key"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    settings.setdefault("session_key_path", "session.key")  # not named by services made before there were operators
    _check_settings(settings, path)
    for name in settings:
        if name.endswith("_path"):
            settings[name] = path.parent / settings[name]
    return ServiceConfig(**settings)


def load_config_of_environment() -> ServiceConfig:
    """Reads the configuration file that `KEYCHORUS_SERVICE_CONFIG` names.

    Raises:
      ConfigError: the variable is not set, or as `load_config`.

    """
    path = os.environ.get(CONFIG_VARIABLE)
    if not path:
        raise ConfigError(f"{CONFIG_VARIABLE} must name the service's configuration file; it is not set")
    return load_config(Path(path))


def render_config(config: ServiceConfig) -> str:
    """Writes a configuration as TOML, the inverse of `load_config`."""
    lines = ["# Keychorus aggregation service"]
    for field in fields(config):
        value = getattr(config, field.name)
        if value is not None:
            # A JSON string is a TOML basic string; JSON's numbers and booleans are TOML's.
            lines.append(f"{field.name} = {json.dumps(value if isinstance(value, int | float) else str(value))}")
    return "\n".join(lines) + "\n"


def create_signing_key(path: Path) -> Ed25519PrivateKey:
    """Makes a key in a new file that only its owner may read.

    Raises:
      ConfigError: the file exists; a key is never overwritten, for devices trust it.

    """
    key = Ed25519PrivateKey.generate()
    raw = key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
    _write_key(path, raw, "signing")
    return key


def load_signing_key(path: Path) -> Ed25519PrivateKey:
    """Reads the key.

    Raises:
      ConfigError: missing (says which command makes one), not of 32 bytes, or readable by others.

    """
    raw = _read_key(path, "signing", "`keychorus service init FOLDER` makes a service with one")
    return Ed25519PrivateKey.from_private_bytes(raw)


def create_session_key(path: Path) -> None:
    """Makes the key of operators' sessions, in a new file that only its owner may read.

    Raises:
      ConfigError: the file exists.

    """
    _write_key(path, secrets.token_bytes(_KEY_BYTES), "session")


def load_session_key(path: Path) -> bytes:
    """Reads the key of operators' sessions.

    Raises:
      ConfigError: missing (says which command makes one), not of 32 bytes, or readable by others.

    """
    return _read_key(path, "session", "`keychorus service key session` makes one")


def _write_key(path: Path, raw: bytes, name: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} exists already, and a {name} key is never overwritten") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(raw)


def _read_key(path: Path, name: str, remedy: str) -> bytes:
    try:
        mode = path.stat().st_mode & 0o777
        raw = path.read_bytes()
    except OSError:
        raise ConfigError(f"no {name} key at {path}; {remedy}") from None
    if mode & 0o077:
        raise ConfigError(f"{path} must be readable by its owner only (mode 600), got mode {mode:o}")
    if len(raw) != _KEY_BYTES:
        raise ConfigError(f"{path} must have {_KEY_BYTES} bytes, got {len(raw)}")
    return raw


_TYPES: dict[Any, tuple[type, ...]] = {str: (str,), bool: (bool,), int: (int,), float: (float, int), Path: (str,)}
"""How TOML writes each type of a setting."""


def _check_settings(settings: dict[str, Any], path: Path) -> None:
    hints = get_type_hints(ServiceConfig)
    names = [field.name for field in fields(ServiceConfig)]
    unknown = sorted(set(settings) - set(names))
    if unknown:
        raise ConfigError(f"{path} has an unknown setting, {unknown[0]}; known are {', '.join(names)}")
    for name in ("database_url", "signing_key_path"):
        if name not in settings:
            raise ConfigError(f"{path} lacks the setting {name}")
    for name, value in settings.items():
        wanted = _TYPES[(get_args(hints[name]) or (hints[name],))[0]]  # what `| None` adds, TOML cannot write
        if type(value) not in wanted:  # exactly: to Python, true is an int
            raise ConfigError(f"{name} in {path} must be a {wanted[0].__name__}, got a {type(value).__name__}")
