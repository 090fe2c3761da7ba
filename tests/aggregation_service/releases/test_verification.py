"""Statements of real releases, computed again from real ledgers: honest ones are equal, and no other is."""

from typing import Any

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, delete, update

from aggregation_service import operations
from aggregation_service.config import load_signing_key
from aggregation_service.operations import EvaluationSettings
from aggregation_service.operations.clipping import with_count_noise
from aggregation_service.policy import PopulationPolicy
from aggregation_service.privacy.adaptive_clipping import ClippingParameters
from aggregation_service.privacy.disclosures import AdaptiveClipping, Shares, Stream
from aggregation_service.privacy.ledger import ClippingQuantileReleased, ReleasesLost, decode_event, encode_event
from aggregation_service.privacy.ledger_chain import BrokenLedger
from aggregation_service.privacy.mechanisms.parameters import Tree
from aggregation_service.privacy.statement import PrivacyStatement
from aggregation_service.releases.verification import (
    RECOMPUTED,
    RECOMPUTED_SINCE,
    StatementMissing,
    check_ledger,
    verify_statement,
)
from aggregation_service.rounds.state import Phase
from aggregation_service.storage import books, releases
from aggregation_service.storage.files import find_content, put_file
from aggregation_service.storage.tables import files, ledger, rounds
from aggregation_service.storage.tables import releases as table
from protocol.errors import ProtocolError
from protocol.evaluation import EvaluationSums, ModelSums
from protocol.manifest import Manifest, decode_manifest, sign_manifest

POPULATION = "en-gb"
DEVICE = "d" * 32


ELSEWHERE = ReleasesLost(num_releases=1, after_round=0, noise_multiplier=0.1, l2_clip_norm=1.0)
NEVER_SHARED = Shares(
    sums=1,
    sigma=9.0,
    num_shares=5,
    least_reports=6,
    squared_bound=900,
    adversary_fraction=0.05,
    dropout_fraction=0.1,
)
NEVER_MADE = Stream(
    task_id=1,
    mechanism=Tree(2),
    rounds=2,
    noise_multiplier=4.0,
    sensitivity=1.0,
    max_participations=1,
    min_separation=None,
    participation_limit=None,
    separation_limit=1,
)
NEVER_ADAPTED = AdaptiveClipping(
    rounds=1, least_norm=1.0, largest_norm=1.0, floor=None, ceiling=None, target_quantiles=()
)


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


@pytest.fixture
def trained(rehearsal: Any, plans: Any) -> Any:
    """Three rounds of the same device, a release before and after every one of them."""
    rehearsal.create_task(plans(goal=1, noise=4.0))
    publish(rehearsal)
    for _ in range(3):
        train_once(rehearsal)
        publish(rehearsal)
    return rehearsal


def publish(rehearsal: Any, content: bytes = b"model") -> None:
    rehearsal.wait(1)
    operations.publish_release(rehearsal.config, population=POPULATION, files={"model": content})


def train_once(rehearsal: Any) -> None:
    rehearsal.wait(1)
    rehearsal.report(rehearsal.select(DEVICE), rehearsal.update())


def verify(rehearsal: Any, key: Ed25519PrivateKey | None = None) -> dict[int, dict[str, tuple[object, object]]]:
    """By release what is not equal: stated, and by the ledger."""
    key = key or load_signing_key(rehearsal.config.signing_key_path)
    with rehearsal.service.database.read() as connection:
        checked = check_ledger(connection, POPULATION)
        return {
            record.id: {
                each.name: (each.stated, each.recomputed)
                for each in verify_statement(connection, record, checked, key.public_key())
            }
            for record in releases.list_releases(connection, POPULATION)
        }


def restate(rehearsal: Any, release_id: int, **changes: object) -> None:
    """Signs a release with another statement, as only the service can."""
    content = msgspec.json.encode(msgspec.structs.replace(statement_of(rehearsal, release_id), **changes))
    sign_with(rehearsal, release_id, privacy_statement=content)


def statement_of(rehearsal: Any, release_id: int) -> PrivacyStatement:
    with rehearsal.service.database.read() as connection:
        entry = manifest_of(connection, release_id).files["privacy_statement"]
        return msgspec.json.decode(find_content(connection, entry.sha256) or b"", type=PrivacyStatement)


def as_once_written(statement: PrivacyStatement) -> bytes:
    """Without what came later, from `noise` on."""
    fields = list(msgspec.to_builtins(statement).items())
    names = [name for name, _ in fields]
    return msgspec.json.encode(dict(fields[: names.index("noise")]))


def manifest_of(connection: Connection, release_id: int) -> Manifest:
    record = releases.find_release(connection, POPULATION, release_id)
    assert record is not None
    return decode_manifest(record.manifest.manifest)


def sign_with(rehearsal: Any, release_id: int, **contents: bytes) -> None:
    """Signs a release anew, with these files only."""
    key = load_signing_key(rehearsal.config.signing_key_path)
    with rehearsal.service.database.write() as connection:
        entries = {name: put_file(connection, content) for name, content in contents.items()}
        signed = sign_manifest(msgspec.structs.replace(manifest_of(connection, release_id), files=entries), key)
        values = {"manifest": signed.manifest, "signature": signed.signature}
        connection.execute(update(table).where(table.c.id == release_id).values(values))


def test_honest_statements_are_equal_whenever_they_were_made(trained: Any) -> None:
    assert verify(trained) == {number: {} for number in (1, 2, 3, 4)}


def test_releases_of_one_instant_are_equal_too(rehearsal: Any, plans: Any) -> None:
    """The clock stands still: only the statement itself tells which rows it is of."""
    rehearsal.create_task(plans(goal=1, noise=4.0))
    for _ in range(3):
        operations.publish_release(rehearsal.config, population=POPULATION, files={"model": b"1"})
        rehearsal.report(rehearsal.select(), rehearsal.update())
    assert verify(rehearsal) == {1: {}, 2: {}, 3: {}}


def test_candidates_that_were_signed_again_are_equal(trained: Any) -> None:
    operations.set_policy(trained.config, POPULATION, PopulationPolicy(gate_margin=0.0))
    settings = EvaluationSettings(report_goal=1, minimum_reports=1, l2_clip_norm=5.0, noise_multiplier=0.001)
    trained.wait(1)
    operations.propose_release(trained.config, population=POPULATION, files={"model": b"2"}, evaluation=settings)
    proposed = statement_of(trained, 5)
    trained.wait(1)
    sums = EvaluationSums(ModelSums(3.0, 2.0, 4.0), ModelSums(0.0, 0.0, 9.0), 4)
    trained.report(trained.select(), sums.to_vector())
    assert len(statement_of(trained, 5).cohort_sizes) == len(proposed.cohort_sizes) + 1, "signed again"
    assert verify(trained)[5] == {}


def test_lost_releases_and_quantiles_are_in_it(trained: Any) -> None:
    extra = ClippingQuantileReleased(
        round_id="0" * 32,
        model_version=1,
        num_reports=1,
        max_participations=2,
        noise_multiplier=8.0,
        l2_clip_norm=0.5,
    )
    gone = ReleasesLost(num_releases=2, after_round=3, noise_multiplier=4.0, l2_clip_norm=1.0)
    for event in (extra, gone):
        trained.wait(1)
        with trained.service.database.write() as connection:
            books.append_event(connection, POPULATION, event, trained.now)
        publish(trained)
    assert verify(trained) == {number: {} for number in range(1, 7)}


def test_a_number_that_the_ledger_does_not_say_is_found(trained: Any) -> None:
    honest = statement_of(trained, 3)
    wrong: list[tuple[str, object]] = [
        ("epsilon", 0.5),
        ("epsilon", (honest.epsilon or 0) * 0.9999),
        ("epsilon", None),
        ("rho", 0.001),
        ("noise_multiplier", 5.0),
        ("l2_clip_norm", 0.5),
        ("max_participations", 1),
        ("cohort_sizes", (1, 2)),
        ("ledger_head", "0" * 64),
        ("secure_aggregation", True),
        ("streams", (NEVER_MADE,)),
        ("shares", (NEVER_SHARED,)),
        ("clipping", NEVER_ADAPTED),
        ("released", (msgspec.structs.replace(honest.released[0], times=1),)),
        ("released", ()),
        ("plan_sha256", ("0" * 64,)),
    ]
    for name, value in wrong:
        restate(trained, 3, **{name: value})
        assert verify(trained) == {1: {}, 2: {}, 3: {name: (value, getattr(honest, name))}, 4: {}}
        restate(trained, 3, **{name: getattr(honest, name)})
    assert {name for name, _ in wrong} == set(RECOMPUTED) | set(RECOMPUTED_SINCE)
    restate(trained, 3, delta=1e-6)
    assert set(verify(trained)[3]) == {"epsilon"}, "it is told at another delta"


def test_a_statement_of_an_earlier_moment_is_found(trained: Any) -> None:
    """It was true once, and says too little now."""
    sign_with(trained, 4, privacy_statement=msgspec.json.encode(statement_of(trained, 2)))
    numbers = {"cohort_sizes", "max_participations", "epsilon", "rho"}
    assert set(verify(trained)[4]) == numbers | {"released", "ledger_head"}
    sign_with(trained, 4, privacy_statement=as_once_written(statement_of(trained, 2)))
    assert set(verify(trained)[4]) == numbers


def test_a_statement_of_a_later_moment_than_it_names_is_found(trained: Any) -> None:
    """It is compared with the row that it names and no other, even if it was true when it was written."""
    before, after = statement_of(trained, 2), statement_of(trained, 3)
    sign_with(trained, 2, privacy_statement=msgspec.json.encode(after))
    assert verify(trained)[2] == {}, "a release may be signed again"
    restate(trained, 2, ledger_head=before.ledger_head)
    assert {"cohort_sizes", "epsilon"} <= set(verify(trained)[2])
    sign_with(trained, 2, privacy_statement=as_once_written(after))
    assert verify(trained)[2] == {}, "without a row it is not known which moment it is of"


def test_statements_from_before_rows_were_named_are_equal_too(trained: Any) -> None:
    for release_id in (1, 2, 3, 4):
        sign_with(trained, release_id, privacy_statement=as_once_written(statement_of(trained, release_id)))
    assert verify(trained) == {number: {} for number in (1, 2, 3, 4)}


def test_rows_of_other_populations_are_covered_and_not_counted(trained: Any) -> None:
    operations.add_population(trained.config, "de-at")
    with trained.service.database.write() as connection:
        books.append_event(connection, "de-at", ELSEWHERE, trained.now)
        head = books.ledger_head(connection)
    publish(trained)
    assert statement_of(trained, 5).ledger_head == head
    assert len(statement_of(trained, 5).cohort_sizes) == 3
    assert verify(trained)[5] == {}


def test_a_row_removed_or_edited_stops_everything(trained: Any) -> None:
    """Also the newest, which the next row would have to cover: its round closed."""
    database = trained.service.database
    with database.read() as connection:
        rows = books.ledger_rows(connection)
    for row in rows:
        quieter = encode_event(msgspec.structs.replace(decode_event(row.event), noise_multiplier=40.0))
        why = f"round 3 of {POPULATION} closed" if row == rows[-1] else "does not follow"
        for tampering, match in (
            (delete(ledger).where(ledger.c.id == row.id), why),
            (update(ledger).where(ledger.c.id == row.id).values(event=quieter), f"row {row.id} was changed"),
        ):
            with database.engine.connect() as connection, connection.begin() as transaction:
                connection.execute(tampering)
                with pytest.raises(BrokenLedger, match=match):
                    check_ledger(connection, POPULATION)
                transaction.rollback()


def test_no_statement_is_signed_of_a_ledger_that_was_changed_or_cut(trained: Any) -> None:
    """It might say too little."""
    database = trained.service.database
    with database.read() as connection:
        first, *_, last = books.ledger_rows(connection)
    quieter = encode_event(msgspec.structs.replace(decode_event(first.event), noise_multiplier=40.0))
    with database.write() as connection:
        connection.execute(update(ledger).where(ledger.c.id == first.id).values(event=quieter))
    with pytest.raises(BrokenLedger, match=f"row {first.id} was changed"):
        publish(trained)
    with database.write() as connection:
        connection.execute(update(ledger).where(ledger.c.id == first.id).values(event=first.event))
        connection.execute(delete(ledger).where(ledger.c.id == last.id))
    with pytest.raises(BrokenLedger, match=f"round 3 of {POPULATION} closed"):
        publish(trained)
    assert len(release_ids(trained)) == 4


def release_ids(rehearsal: Any) -> list[int]:
    with rehearsal.service.database.read() as connection:
        return [record.id for record in releases.list_releases(connection, POPULATION)]


def cut_after(rehearsal: Any, count: int) -> None:
    """Deletes the ledger's rows from the end, and closes no round whose row is gone."""
    with rehearsal.service.database.write() as connection:
        gone = books.ledger_rows(connection)[count:]
        connection.execute(delete(ledger).where(ledger.c.id.in_([row.id for row in gone])))
        unbooked = [getattr(decode_event(row.event), "round_id", "") for row in gone]
        abandoned = {"phase": Phase.ABANDONED.value}
        connection.execute(update(rounds).where(rounds.c.id.in_(unbooked)).values(abandoned))


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_an_end_that_was_cut_off_with_its_rounds_is_found_by_later_statements(trained: Any, kept: int) -> None:
    """Releases 1 to 4 were made after 0 to 3 rows: whichever names a row that is gone is not equal."""
    cut_after(trained, kept)
    unequal = {release_id for release_id, differences in verify(trained).items() if "ledger_head" in differences}
    assert unequal == {number for number in (2, 3, 4) if number - 1 > kept}


def test_an_end_that_no_statement_names_is_found_by_a_head_only(trained: Any) -> None:
    """What was lost with a backup is of no round: until a release, nothing in the database tells that it is gone."""
    gone = ReleasesLost(num_releases=2, after_round=3, noise_multiplier=4.0, l2_clip_norm=1.0)
    with trained.service.database.write() as connection:
        books.append_event(connection, POPULATION, gone, trained.now)
        head = books.ledger_head(connection)
    cut_after(trained, 3)
    assert verify(trained) == {number: {} for number in (1, 2, 3, 4)}
    with trained.service.database.read() as connection, pytest.raises(BrokenLedger, match="cut off or written anew"):
        check_ledger(connection, POPULATION, head)


def test_statements_that_nobody_signed_or_can_read_are_refused(trained: Any) -> None:
    with pytest.raises(ProtocolError, match="signature"):
        verify(trained, Ed25519PrivateKey.generate())
    restate(trained, 1, delta=2.0)
    with pytest.raises(StatementMissing, match=r"delta of release 1's .* must be in \(0, 1\), got 2"):
        verify(trained)
    sign_with(trained, 1, model=b"1")
    with pytest.raises(StatementMissing, match="has no file"):
        verify(trained)
    sign_with(trained, 1, privacy_statement=b"{}")
    with pytest.raises(StatementMissing, match="cannot be read"):
        verify(trained)


def test_a_statement_file_that_was_changed_is_not_what_was_signed(trained: Any) -> None:
    with trained.service.database.write() as connection:
        entry = manifest_of(connection, 2).files["privacy_statement"]
        content = (find_content(connection, entry.sha256) or b"").replace(b'"report_goal":1', b'"report_goal":9')
        connection.execute(update(files).where(files.c.sha256 == entry.sha256).values(content=content))
    with pytest.raises(ProtocolError, match="file must have SHA-256"):
        verify(trained)


def test_a_statement_of_clipping_that_adapts_is_computed_again_and_every_change_of_it_found(
    rehearsal: Any, plans: Any
) -> None:
    plan = with_count_noise(plans(goal=1, noise=4.0), 5.0)
    rehearsal.create_task(plan, adaptive_clipping=ClippingParameters(floor=0.5, ceiling=2.0))
    for _ in range(2):
        rehearsal.report(rehearsal.select(), np.zeros(38, np.float32))
    publish(rehearsal)
    stated = statement_of(rehearsal, 1)
    assert stated.clipping is not None
    assert len(stated.plan_sha256) == 2
    with rehearsal.service.database.write() as connection:  # as pruning does, some time after a round has ended
        connection.execute(delete(files).where(files.c.sha256 == stated.plan_sha256[1]))
    assert verify(rehearsal) == {1: {}}
    narrower = msgspec.structs.replace(stated.clipping, ceiling=1.0)
    restate(rehearsal, 1, clipping=narrower)
    assert verify(rehearsal) == {1: {"clipping": (narrower, stated.clipping)}}
