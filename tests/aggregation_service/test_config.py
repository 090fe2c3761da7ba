import stat
from pathlib import Path

import pytest

from aggregation_service.config import (
    CONFIG_VARIABLE,
    ConfigError,
    ServiceConfig,
    create_session_key,
    create_signing_key,
    load_config,
    load_config_of_environment,
    load_session_key,
    load_signing_key,
    render_config,
)
from protocol.manifest import encode_public_key

GOOD = 'database_url = "sqlite:////x"\nsigning_key_path = "signing.key"\n'


def test_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ServiceConfig(
        database_url='sqlite:////a "quoted" \\ name',
        signing_key_path=tmp_path / "key",
        session_key_path=tmp_path / "sessions",
        clock_path=tmp_path / "clock",
        privacy_delta=1e-7,
        cookie_secure=False,
        session_lifetime_h=0.5,
        address_rate_limit="unlimited",
        device_rate_limit="1/second;10/minute",
        login_rate_limit="3/hour",
        rate_limit_storage="redis://localhost:6379",
        trusted_proxies=2,
    )
    path = tmp_path / "service.toml"
    path.write_text(render_config(config), encoding="utf-8")
    assert load_config(path) == config
    monkeypatch.setenv(CONFIG_VARIABLE, str(path))
    assert load_config_of_environment() == config


def test_relative_paths_count_from_the_files_own_folder(tmp_path: Path) -> None:
    path = tmp_path / "service.toml"
    path.write_text(GOOD)
    assert load_config(path).signing_key_path == tmp_path / "signing.key"
    assert load_config(path).session_key_path == tmp_path / "session.key"  # though older files do not name it
    assert load_config(path).clock_path is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("= nonsense", "is not TOML"),
        ("", "lacks the setting database_url"),
        (GOOD + "debug = true\n", "unknown setting, debug"),
        (GOOD + 'privacy_delta = "small"\n', "privacy_delta .* must be a float, got a str"),
        (GOOD + "privacy_delta = 1.5\n", r"privacy_delta must be in \(0, 1\), got 1.5"),
        (GOOD + "cookie_secure = 1\n", "cookie_secure .* must be a bool, got a int"),
        (GOOD + "trusted_proxies = true\n", "trusted_proxies .* must be a int, got a bool"),
        (GOOD + "trusted_proxies = -1\n", "trusted_proxies must be in 0 to 10, got -1"),
        (GOOD + "session_lifetime_h = 0\n", r"session_lifetime_h must be in \(0, 168\], got 0"),
        (GOOD + "session_lifetime_h = 169.0\n", r"session_lifetime_h must be in \(0, 168\], got 169.0"),
        (GOOD + 'address_rate_limit = "fast"\n', 'address_rate_limit must be .* or "unlimited", got "fast"'),
        (GOOD + 'device_rate_limit = "0/minute"\n', 'device_rate_limit must be a rate such as "600/minute"'),
        (GOOD + 'login_rate_limit = "unlimited"\n', 'login_rate_limit must be a rate such as "600/minute", got'),
        (
            GOOD + 'rate_limit_storage = "mongodb://x"\n',
            "rate_limit_storage must begin with one of memory://, redis://",
        ),
    ],
)
def test_a_wrong_file_is_refused_in_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "service.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_config(path)


def test_what_is_missing_names_the_command_that_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="keychorus service init"):
        load_config(tmp_path / "service.toml")
    with pytest.raises(ConfigError, match="keychorus service init"):
        load_signing_key(tmp_path / "key")
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=CONFIG_VARIABLE):
        load_config_of_environment()


def test_a_key_is_private_kept_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = create_signing_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert encode_public_key(load_signing_key(path).public_key()) == encode_public_key(key.public_key())
    with pytest.raises(ConfigError, match="never overwritten"):
        create_signing_key(path)


def test_a_key_that_others_may_read_or_that_is_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    create_signing_key(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="mode 640"):
        load_signing_key(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(ConfigError, match="must have 32 bytes, got 5"):
        load_signing_key(path)


def test_a_session_key_is_private_and_another_each_time(tmp_path: Path) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        create_session_key(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    one, two = map(load_session_key, paths)
    assert len(one) == 32
    assert one != two
    with pytest.raises(ConfigError, match="never overwritten"):
        create_session_key(paths[0])
    with pytest.raises(ConfigError, match="keychorus service key session"):
        load_session_key(tmp_path / "none")
    paths[0].chmod(0o644)
    with pytest.raises(ConfigError, match="mode 644"):
        load_session_key(paths[0])
