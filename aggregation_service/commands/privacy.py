"""`keychorus privacy`: whether what was stated about privacy is so."""

from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection

from aggregation_service import operations
from aggregation_service.commands.shared import NUMBER, clear_errors, config_option
from aggregation_service.config import ServiceConfig, load_config
from aggregation_service.operations.shared import OperationError, opened, require_population
from aggregation_service.privacy.accountants import Accounts, account
from aggregation_service.privacy.statement import PrivacyStatement, finite_or_none
from aggregation_service.releases.statements import state_now
from aggregation_service.releases.verification import (
    CheckedLedger,
    Difference,
    StatementMissing,
    check_ledger,
    read_statement,
    verify_statement,
)
from aggregation_service.storage import releases
from aggregation_service.storage.releases import ReleaseRecord
from protocol.errors import ProtocolError
from protocol.manifest import decode_public_key


class _Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one release: numbers that differ, or in a sentence why there are none to compare."""

    release_id: int
    model_version: int
    status: str
    equal: bool
    differences: tuple[Difference, ...] = ()
    unreadable: str | None = None


class _Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What is printed. ε by each accountant is of the whole ledger, now; None for no guarantee."""

    population: str
    ledger_rows: int
    ledger_head: str
    releases: tuple[_Verdict, ...]
    delta: float
    rho: float | None
    epsilon: dict[str, float | None]


@click.group()
def privacy() -> None:
    """The privacy statement of what devices are offered."""


@privacy.command()
@click.argument("population_name", metavar="POPULATION")
@click.option("--release", "release_id", type=NUMBER, help="Only this release; without: all of the population.")
@click.option("--head", help="A head that this command printed once: shows whether rows were cut off since.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def verify(*, population_name: str, release_id: int | None, head: str | None, as_json: bool, config_path: Path) -> None:
    """Compute the numbers of privacy statements again, from the ledger, and fail unless they are equal.

    First the ledger itself is checked: fails if a row was changed, deleted, moved, inserted or cut off.

    \b
    Examples:
      keychorus privacy verify en-gb --config /srv/keychorus/service.toml
      keychorus privacy verify en-gb --release 7 --json
    """
    with clear_errors():
        found = _verify(load_config(config_path), population_name, release_id, head)
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        _print(found)
    if not all(verdict.equal for verdict in found.releases):
        raise click.exceptions.Exit(1)


@privacy.command()
@click.argument("population_name", metavar="POPULATION")
@click.option("--release", "release_id", type=NUMBER, help="Of this release; without: what a release would say now.")
@click.option("--html", "as_html", is_flag=True, help="Write a page to print or publish, instead of JSON.")
@config_option
def statement(*, population_name: str, release_id: int | None, as_html: bool, config_path: Path) -> None:
    """Write the privacy statement of a release: what is protected, how well, and what is not.

    \b
    Examples:
      keychorus privacy statement en-gb --config /srv/keychorus/service.toml
      keychorus privacy statement en-gb --release 7 --html > privacy.html
    """
    with clear_errors():
        config = load_config(config_path)
        found = _read_statement(config, population_name, release_id)
    if as_html:
        from aggregation_service.dashboard.printing import statement_page

        click.echo(statement_page(found, population=population_name, release_id=release_id))
    else:
        click.echo(msgspec.json.encode(found))


def _read_statement(config: ServiceConfig, population: str, release_id: int | None) -> PrivacyStatement:
    with opened(config) as database, database.read() as connection:
        require_population(connection, population)
        if release_id is None:
            return state_now(connection, population, config.privacy_delta)
        (record,) = _releases(connection, population, release_id)
        try:
            return read_statement(connection, record, decode_public_key(operations.public_key(config)))
        except StatementMissing as error:
            raise OperationError(str(error)) from None


def _verify(config: ServiceConfig, population: str, release_id: int | None, head: str | None) -> _Verification:
    with opened(config) as database, database.read() as connection:
        require_population(connection, population)
        ledger = check_ledger(connection, population, head)
        records = _releases(connection, population, release_id)
        key = operations.public_key(config)
        verdicts = tuple(_judge(connection, record, ledger, key) for record in records)
    accounts = account(ledger.events, config.privacy_delta)
    return _Verification(
        population=population,
        ledger_rows=len(ledger.events),
        ledger_head=ledger.head,
        releases=verdicts,
        delta=config.privacy_delta,
        rho=finite_or_none(accounts.spent.rho),
        epsilon=_by_accountant(accounts),
    )


def _releases(connection: Connection, population: str, release_id: int | None) -> list[ReleaseRecord]:
    if release_id is None:
        return releases.list_releases(connection, population)
    record = releases.find_release(connection, population, release_id)
    if record is None:
        raise OperationError(f"population {population} has no release {release_id}")
    return [record]


def _judge(connection: Connection, record: ReleaseRecord, ledger: CheckedLedger, public_key: str) -> _Verdict:
    differences: tuple[Difference, ...] = ()
    unreadable = None
    try:
        differences = verify_statement(connection, record, ledger, decode_public_key(public_key))
    except (ProtocolError, StatementMissing) as error:
        unreadable = str(error)
    return _Verdict(
        release_id=record.id,
        model_version=record.model_version,
        status=record.status,
        equal=not differences and unreadable is None,
        differences=differences,
        unreadable=unreadable,
    )


def _by_accountant(accounts: Accounts) -> dict[str, float | None]:
    """Without PLD where it cannot tell."""
    pld = {} if accounts.pld_epsilon is None else {"PLD": accounts.pld_epsilon}
    told = {"exact": accounts.spent.epsilon, **pld, "RDP": accounts.rdp_epsilon, "zCDP": accounts.zcdp_epsilon}
    return {name: finite_or_none(epsilon) for name, epsilon in told.items()}


def _print(found: _Verification) -> None:
    click.echo(f"{found.ledger_rows} rows of {found.population} in the ledger, none changed\nhead {found.ledger_head}")
    table = Table("release", "model version", "status", "statement", "stated", "by the ledger")
    for verdict in found.releases:
        table.add_row(*_row(verdict))
        for difference in verdict.differences:
            table.add_row("", "", "", difference.name, _shown(difference.stated), _shown(difference.recomputed))
    if found.releases:
        Console().print(table)
    epsilons = ", ".join(f"{name} {_shown(epsilon)}" for name, epsilon in found.epsilon.items())
    click.echo(f"spent by now: ε at δ {found.delta:g}: {epsilons}; ρ {_shown(found.rho)}")


def _row(verdict: _Verdict) -> tuple[str, ...]:
    said = verdict.unreadable or ("equal" if verdict.equal else "NOT EQUAL")
    return (str(verdict.release_id), str(verdict.model_version), verdict.status, said)


def _shown(value: object) -> str:
    match value:
        case None:
            return "∞"
        case float():
            return f"{value:.6g}"
        case tuple() if all(isinstance(each, int) for each in value):
            return f"{len(value)} cohorts, {sum(value)} reports"
        case tuple():
            return f"{len(value)}, in --json"
        case _:
            return str(value)
