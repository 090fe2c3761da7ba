"""The service's configuration: a TOML file, and the signing key beside it."""

import json
import os
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

CONFIG_VARIABLE = "KEYCHORUS_SERVICE_CONFIG"
"""Names the configuration file where no command line can: gunicorn's workers build their own app."""

_KEY_BYTES = 32


class ConfigError(Exception):
    """A configuration that the service must not start with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceConfig:
    """Everything that a service needs to know before its database is open.

    Attributes:
      database_url: SQLAlchemy's, such as `sqlite:////var/lib/keychorus/service.sqlite`.
      signing_key_path: raw Ed25519 private key, 32 bytes, readable by its owner only; made by `init`.
      clock_path: a `FileClock`'s file in rehearsals; None for the system's clock.
      privacy_delta: the delta at which epsilon is told.

    Raises:
      ConfigError: `privacy_delta` is not in (0, 1), or `database_url` is empty.

    """

    database_url: str
    signing_key_path: Path
    clock_path: Path | None = None
    privacy_delta: float = 1e-10

    def __post_init__(self) -> None:
        if not 0 < self.privacy_delta < 1:
            raise ConfigError(f"privacy_delta must be in (0, 1), got {self.privacy_delta}")
        if not self.database_url:
            raise ConfigError("database_url must not be empty")


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
    _check_settings(settings, path)
    for name in ("signing_key_path", "clock_path"):
        if name in settings:
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
            # A JSON string is a TOML basic string; repr of a float is a TOML float.
            lines.append(f"{field.name} = {json.dumps(value if isinstance(value, float) else str(value))}")
    return "\n".join(lines) + "\n"


def create_signing_key(path: Path) -> Ed25519PrivateKey:
    """Makes a key in a new file that only its owner may read.

    Raises:
      ConfigError: the file exists; a key is never overwritten, for devices trust it.

    """
    key = Ed25519PrivateKey.generate()
    raw = key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} exists already, and a signing key is never overwritten") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(raw)
    return key


def load_signing_key(path: Path) -> Ed25519PrivateKey:
    """Reads the key.

    Raises:
      ConfigError: missing (says which command makes one), not of 32 bytes, or readable by others.

    """
    try:
        mode = path.stat().st_mode & 0o777
        raw = path.read_bytes()
    except OSError:
        raise ConfigError(
            f"no signing key at {path}; `keychorus service init FOLDER` makes a service with one"
        ) from None
    if mode & 0o077:
        raise ConfigError(f"{path} must be readable by its owner only (mode 600), got mode {mode:o}")
    if len(raw) != _KEY_BYTES:
        raise ConfigError(f"{path} must have {_KEY_BYTES} bytes, got {len(raw)}")
    return Ed25519PrivateKey.from_private_bytes(raw)


def _check_settings(settings: dict[str, Any], path: Path) -> None:
    types = {"database_url": str, "signing_key_path": str, "clock_path": str, "privacy_delta": float}
    unknown = sorted(set(settings) - set(types))
    if unknown:
        raise ConfigError(f"{path} has an unknown setting, {unknown[0]}; known are {', '.join(types)}")
    for name in ("database_url", "signing_key_path"):
        if name not in settings:
            raise ConfigError(f"{path} lacks the setting {name}")
    for name, value in settings.items():
        if not isinstance(value, types[name]):
            raise ConfigError(f"{name} in {path} must be a {types[name].__name__}, got a {type(value).__name__}")
