"""What deploy/ ships: well-formed, without secrets, and true to the commands and metrics that are there."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from aggregation_service import metrics as own_metrics
from aggregation_service.cli import service
from aggregation_service.refusals import RefusalKind
from aggregation_service.resources import metrics as resource
from aggregation_service.rounds.groups import GroupFailure
from aggregation_service.rounds.state import AbandonReason

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("keychorus-*"))


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text())
    return loaded


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return load("compose.yaml")


@pytest.fixture(scope="module")
def containerfile() -> list[list[str]]:
    """Its instructions: name and rest."""
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    return [line.split(maxsplit=1) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def option_names(*path: str) -> set[str]:
    """The options of a command of `keychorus service`, which exists."""
    found: click.Command = service
    for name in path:
        assert isinstance(found, click.Group)
        found = found.commands[name]
    return {option for parameter in found.params for option in parameter.opts}


def test_images_have_versions(compose: dict[str, Any], containerfile: list[list[str]]) -> None:
    images = [one["image"] for one in compose["services"].values()]
    images += [rest.split()[0] for name, rest in containerfile if name == "FROM"]
    assert len(images) == 6
    for image in images:
        assert re.search(r":[a-z0-9][a-z0-9.-]*\Z", image), image
        assert not image.endswith(":latest")


def test_compose_starts_only_with_secrets_from_files(compose: dict[str, Any]) -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    assert re.findall(r"\$\{\w+:?-", text) == [], "no variable has a default"
    assert all(secret["file"].startswith("${KEYCHORUS_SECRETS:?") for secret in compose["secrets"].values())
    for one in compose["services"].values():
        assert set(one.get("secrets", [])) <= set(compose["secrets"])
        for name, value in one.get("environment", {}).items():
            assert name.endswith("_FILE") or "PASSWORD" not in name, (name, value)
    assert not re.search(r"://[^/\s]*:[^/\s]*@", text), "no password in a URL"


def test_compose_shuts_the_service_in(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"init", "service", "postgres", "nginx"}
    assert [name for name, one in services.items() if "ports" in one] == ["nginx"]
    assert compose["networks"]["inside"]["internal"] is True
    for name in ("init", "service"):
        assert (services[name]["read_only"], services[name]["cap_drop"]) == (True, ["ALL"])
        assert services[name]["networks"] == ["inside"]
    assert services["service"]["volumes"][0].endswith(":ro")
    assert services["nginx"]["depends_on"] == {"service": {"condition": "service_healthy"}}


def test_compose_names_only_what_it_has_and_has_nothing_that_nobody_names(compose: dict[str, Any]) -> None:
    named: dict[str, set[str]] = {"networks": set(), "secrets": set(), "volumes": set()}
    for name, one in compose["services"].items():
        assert set(one.get("depends_on", {})) <= set(compose["services"]) - {name}
        for other, how in one.get("depends_on", {}).items():
            is_checked = "healthcheck" in compose["services"][other] or other == "service"  # by its image's HEALTHCHECK
            assert how == {"condition": "service_healthy"}
            assert is_checked
        named["networks"] |= set(one["networks"])
        named["secrets"] |= set(one.get("secrets", []))
        for volume in one.get("volumes", []):
            source, target, *mode = re.sub(r"\$\{[^}]*\}", "$STATE", volume).split(":")
            assert target.startswith("/")
            assert mode in ([], ["ro"])
            if re.fullmatch(r"[a-z]+", source):
                named["volumes"].add(source)
            else:
                assert source == "$STATE" or (DEPLOY / source).is_file()
    assert named == {kind: set(compose[kind]) for kind in named}


def test_what_compose_and_nginx_say_of_each_other_is_true(compose: dict[str, Any]) -> None:
    nginx, services = (DEPLOY / "nginx.conf").read_text(), compose["services"]
    host, port = re.findall(r"^ +server ([a-z]+):(\d+)", nginx, flags=re.MULTILINE)[0]
    command = services[host]["command"]
    assert command[command.index("--port") + 1] == port
    assert set(re.findall(r"/run/secrets/([a-z_]+)", nginx)) == set(services["nginx"]["secrets"])
    listens = {f"{port}:{port}" for port in re.findall(r"listen (\d+)", nginx)}
    assert listens == set(services["nginx"]["ports"])
    assert set(services[host]["networks"]) & set(services["nginx"]["networks"])


@pytest.mark.parametrize("name", ["service", "init"])
def test_compose_runs_commands_that_exist(compose: dict[str, Any], name: str) -> None:
    group, command, *words = compose["services"][name]["command"]
    assert group == "service"
    assert {word for word in words if word.startswith("--")} <= option_names(command)


def test_an_image_is_made_of_what_it_copies_and_of_nothing_else(containerfile: list[list[str]]) -> None:
    copied = {rest for name, rest in containerfile if name == "COPY" and "--from" not in rest}
    sources = {source for rest in copied for source in rest.split()[:-1]}
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == sources


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="this is no checkout of git")
@pytest.mark.parametrize(
    "path", ["deploy/state/signing.key", "deploy/state/pgpass", "deploy/secrets/tls_key", "service/session.key"]
)
def test_secrets_that_are_made_in_the_checkout_stay_out_of_git(path: str) -> None:
    assert subprocess.run(["git", "check-ignore", "--quiet", path], cwd=ROOT, check=False).returncode == 0


def test_container_has_locked_packages_and_no_root(containerfile: list[list[str]]) -> None:
    installs = [rest for name, rest in containerfile if name == "RUN" and "pip install" in rest]
    assert "--require-hashes -r requirements/service.txt" in installs[0]
    assert all("--no-deps" in install for install in installs)
    assert "--no-index" in installs[1]
    last_stage = containerfile[[name for name, _ in containerfile].index("FROM", 1) :]
    names = [name for name, _ in last_stage]
    assert ("USER", "10001:10001") in [tuple(line) for line in last_stage]
    assert names.index("USER") > max(index for index, name in enumerate(names) if name == "RUN")
    assert {"HEALTHCHECK", "ENTRYPOINT", "CMD"} <= set(names)
    removed = [rest for name, rest in containerfile if name == "RUN" and "pip uninstall" in rest]
    assert len(removed) == 2, "neither environment keeps pip or setuptools"
    copied = [rest.split()[0] for name, rest in containerfile if name == "COPY" and "--from" not in rest]
    assert all((ROOT / path).exists() for path in copied)
    command = yaml.safe_load(next(rest for name, rest in last_stage if name == "CMD"))
    assert {word for word in command if word.startswith("--")} <= option_names(command[1])


def unit(path: Path) -> configparser.RawConfigParser:
    parsed = configparser.RawConfigParser(strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(path.read_text())
    return parsed


def test_units_run_commands_that_exist() -> None:
    starts = [unit(path)["Service"]["ExecStart"] for path in UNITS if path.suffix == ".service"]
    assert len(starts) == 2
    for start in starts:
        command = re.search(r"/keychorus service ([a-z]+)", start)
        assert command is not None
        assert set(re.findall(r"(?<= )--[a-z-]+", start)) <= option_names(command[1])


def test_no_outage_is_so_long_that_systemd_gives_up() -> None:
    text = (DEPLOY / "keychorus-service.service").read_text()
    assert "StartLimitIntervalSec=0\n" in text.partition("[Service]")[0]
    assert unit(DEPLOY / "keychorus-service.service")["Service"]["Restart"] == "always"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize(("old", "new", "complains"), [("", "", False), ("UMask", "UMaskk", True)])
def test_systemd_understands_every_line(tmp_path: Path, old: str, new: str, complains: bool) -> None:
    for path in UNITS:
        text = re.sub(r"^(Exec\w+)=\S+", r"\1=/bin/true", path.read_text(), flags=re.MULTILINE)
        (tmp_path / path.name).write_text(text.replace(old, new) if old else text)
    command = ["systemd-analyze", "verify", *(str(tmp_path / path.name) for path in UNITS)]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stderr
    assert ("keychorus-" in told) is complains, told


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_service_is_exposed_to_little(tmp_path: Path) -> None:
    copy = tmp_path / "keychorus-service.service"
    copy.write_text((DEPLOY / copy.name).read_text().replace("/opt/keychorus/bin/keychorus", "/bin/true"))
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout[-400:] + done.stderr


def test_nginx_buffers_requests_and_sets_what_the_service_believes() -> None:
    lines = [line.strip() for line in (DEPLOY / "nginx.conf").read_text().splitlines()]
    for needed in (
        "proxy_request_buffering on;",
        "proxy_http_version 1.1;",
        "proxy_set_header X-Forwarded-For $remote_addr;",
        "proxy_set_header X-Request-Id $request_id;",
        "ssl_protocols TLSv1.2 TLSv1.3;",
        "location = /metrics { return 404; }",
        "client_max_body_size 16m;",
    ):
        assert needed in lines
    assert sum(line.count("{") - line.count("}") for line in lines if not line.startswith("#")) == 0


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_understands_every_line(tmp_path: Path) -> None:
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=x", "-keyout", "key",
                    "-out", "certificate"], cwd=tmp_path, check=True, capture_output=True)  # fmt: skip
    text = (DEPLOY / "nginx.conf").read_text().replace("service:8080", "127.0.0.1:8080")
    text = text.replace("/run/secrets/tls_certificate", str(tmp_path / "certificate"))
    (tmp_path / "nginx.conf").write_text(text.replace("/run/secrets/tls_key", str(tmp_path / "key")))
    done = subprocess.run(
        ["nginx", "-t", "-c", str(tmp_path / "nginx.conf")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_alerts_ask_for_metrics_labels_and_values_that_exist() -> None:
    source = Path(own_metrics.__file__).read_text() + Path(resource.__file__).read_text()
    known = set(re.findall(r'"(keychorus_[a-z_]+)"', source))
    rules = [rule for group in load("alerts.yml")["groups"] for rule in group["rules"]]
    asked = {name for rule in rules for name in re.findall(r"keychorus_[a-z_]+", rule["expr"])}
    assert {re.sub("_(total|bucket|count|sum)$", "", name) for name in asked} <= known
    text = " ".join(rule["expr"] for rule in rules)
    kinds = re.search(r'kind=~"([a-z_|]+)"', text)
    assert kinds is not None
    assert set(kinds[1].split("|")) <= {*RefusalKind}
    assert set(re.findall(r'outcome!="([a-z_]+)"', text)) <= {*AbandonReason, *GroupFailure, "closed", "done"}
    for rule in rules:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"].endswith(".")


def test_prometheus_asks_where_the_service_answers() -> None:
    (job,) = load("prometheus.yml")["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("keychorus", "/metrics")
    assert job["static_configs"][0]["targets"] == ["127.0.0.1:8080"]
