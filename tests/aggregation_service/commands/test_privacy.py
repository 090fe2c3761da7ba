from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update

from aggregation_service import operations
from aggregation_service.commands.privacy import privacy
from aggregation_service.privacy.accounting import privacy_spent
from aggregation_service.privacy.ledger import decode_event
from aggregation_service.privacy.statement import PrivacyStatement
from aggregation_service.storage import books
from aggregation_service.storage.tables import files, ledger
from protocol.manifest import decode_manifest

POPULATION = "en-gb"
SIGNED_AND_NOW: tuple[list[str], list[str]] = (["--release", "2"], [])


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


@pytest.fixture
def released(rehearsal: Any, plans: Any) -> Any:
    """Two releases, with a round between them."""
    rehearsal.create_task(plans(goal=1, noise=4.0))
    for content in (b"1", b"2"):
        operations.publish_release(rehearsal.config, population=POPULATION, files={"model": content})
        rehearsal.wait(1)
        rehearsal.report(rehearsal.select(), rehearsal.update())
        rehearsal.wait(1)
    return rehearsal


def run(rehearsal: Any, *words: str, population: str = POPULATION) -> Result:
    path = rehearsal.folder / "service.toml"
    words = ("verify", population, "--config", str(path), *words)
    return CliRunner().invoke(privacy, words, env={"COLUMNS": "200"})


def newest_head(rehearsal: Any) -> str:
    with rehearsal.service.database.read() as connection:
        return books.ledger_head(connection)


def test_equal_statements_end_well(released: Any) -> None:
    done = run(released)
    assert done.exit_code == 0, done.output
    assert "2 rows of en-gb in the ledger, none changed" in done.output
    assert f"head {newest_head(released)}" in done.output
    assert done.output.count("equal") == 2
    with released.service.database.read() as connection:
        noise_multiplier = books.list_events(connection, POPULATION)[0].noise_multiplier
    spent = privacy_spent(noise_multiplier, 1, 1e-10)
    assert f"ε at δ 1e-10: exact {spent.epsilon:.6g}, PLD {spent.epsilon:.4g}" in done.output
    assert f"ρ {spent.rho:.6g}" in done.output


def test_one_release_as_json(released: Any) -> None:
    done = run(released, "--release", "2", "--json", "--head", newest_head(released))
    assert done.exit_code == 0, done.output
    found = msgspec.json.decode(done.output)
    assert [(each["release_id"], each["equal"], each["differences"]) for each in found["releases"]] == [(2, True, [])]
    assert set(found["epsilon"]) == {"exact", "PLD", "RDP", "zCDP"}
    assert found["ledger_rows"] == 2


def test_a_statement_that_is_not_equal_fails(released: Any) -> None:
    """The ledger is whole, and says that there was no noise."""
    database = released.service.database
    with database.write() as connection:
        rows = books.ledger_rows(connection)
        connection.execute(ledger.delete())
        for row in rows:
            event = msgspec.structs.replace(decode_event(row.event), noise_multiplier=0.0)
            books.append_event(connection, row.population, event, row.recorded_at)
    done = run(released)
    assert done.exit_code == 1
    assert "NOT EQUAL" in done.output
    lines = {line.split("│")[4].strip(): line.split("│")[5:7] for line in done.output.splitlines() if "│" in line}
    assert [cell.strip() for cell in lines["noise_multiplier"]] == ["4", "0"]
    assert lines["epsilon"][1].strip() == "∞"
    assert "│ released" in done.output.replace("  ", "")
    assert "exact ∞, RDP ∞, zCDP ∞; ρ ∞" in done.output


def test_a_statement_that_cannot_be_trusted_fails(released: Any) -> None:
    with released.service.database.write() as connection:
        record = operations.list_releases(released.config, POPULATION)[0]
        entry = decode_manifest(record.manifest.manifest).files[operations.STATEMENT_FILE]
        connection.execute(update(files).where(files.c.sha256 == entry.sha256).values(content=b"{}"))
    done = run(released)
    assert done.exit_code == 1
    assert f"file must have {entry.size_bytes} bytes, got 2" in done.output


def test_what_is_wrong_is_said_in_one_sentence(released: Any) -> None:
    head = newest_head(released)
    for words, population, sentence in (
        (["--release", "9"], POPULATION, "population en-gb has no release 9"),
        ([], "nobody", "there is no population nobody"),
        (["--head", "1" * 64], POPULATION, f"the ledger must contain the hash {'1' * 64}, and does not"),
    ):
        done = run(released, *words, population=population)
        assert done.exit_code == 1
        assert done.output.startswith(f"Error: {sentence}")
    with released.service.database.write() as connection:
        connection.execute(update(ledger).where(ledger.c.sha256 != head).values(recorded_at=0.0))
    done = run(released)
    assert done.exit_code == 1
    assert done.output.startswith("Error: row 1 was changed: its hash should be")


def write(rehearsal: Any, *words: str) -> Result:
    path = rehearsal.folder / "service.toml"
    return CliRunner().invoke(privacy, ["statement", POPULATION, "--config", str(path), *words])


def test_a_statement_is_written_as_it_was_signed_or_as_it_would_be_now(released: Any) -> None:
    signed, now = (
        msgspec.json.decode(write(released, *words).output, type=PrivacyStatement) for words in SIGNED_AND_NOW
    )
    assert now == operations.privacy_statement(released.config, POPULATION)
    assert (len(signed.cohort_sizes), len(now.cohort_sizes)) == (1, 2)
    assert signed.ledger_head != now.ledger_head


def test_a_statement_is_a_page_too(released: Any) -> None:
    for words, title in zip(SIGNED_AND_NOW, ("release 2 of en-gb", "en-gb"), strict=True):
        done = write(released, "--html", *words)
        assert done.exit_code == 0, done.output
        assert f"<h1>Privacy statement of {title}</h1>" in done.output


def test_no_statement_is_written_that_was_not_signed(released: Any) -> None:
    with released.service.database.write() as connection:
        record = operations.list_releases(released.config, POPULATION)[0]
        entry = decode_manifest(record.manifest.manifest).files[operations.STATEMENT_FILE]
        connection.execute(update(files).where(files.c.sha256 == entry.sha256).values(content=b"{}"))
    for words, sentence in (
        (["--release", "2"], f"file must have {entry.size_bytes} bytes, got 2"),
        (["--release", "9"], "population en-gb has no release 9"),
    ):
        done = write(released, *words)
        assert done.exit_code == 1
        assert done.output.startswith("Error: ")
        assert sentence in done.output
