import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation_service.privacy.ledger_chain import GENESIS, BrokenLedger, LedgerRow, check_chain, row_hash


def chained(*contents: tuple[str, str, float]) -> list[LedgerRow]:
    rows: list[LedgerRow] = []
    previous = GENESIS
    for number, content in enumerate(contents, start=1):
        sha256 = row_hash(*content, previous)
        rows.append(LedgerRow(number * 2, *content, previous, sha256))
        previous = sha256
    return rows


ROWS = chained(*(("en-gb" if number % 2 else "de", f'{{"n":{number}}}', number + 0.1) for number in range(5)))


def test_the_hash_is_what_the_docstring_says() -> None:
    text = '["en-gb","{\\"n\\":1}",0.1,"' + GENESIS + '"]'
    assert row_hash("en-gb", '{"n":1}', 0.1, GENESIS) == hashlib.sha256(text.encode()).hexdigest()


def test_a_whole_chain_has_its_newest_hash() -> None:
    assert check_chain([]) == check_chain([], GENESIS) == GENESIS
    assert check_chain(ROWS) == ROWS[-1].sha256
    for row in ROWS:
        assert check_chain(ROWS, row.sha256) == ROWS[-1].sha256


@pytest.mark.parametrize("at", range(5))
@pytest.mark.parametrize(
    "changes",
    [
        {"population": "fr"},
        {"event": '{"n":9}'},
        {"event": '{"n": 1}'},
        {"recorded_at": 1.100001},
        {"sha256": "1" * 64},
        {"previous_sha256": "1" * 64},
    ],
)
def test_a_changed_row_is_found(at: int, changes: dict[str, object]) -> None:
    rows = [row._replace(**changes) if number == at else row for number, row in enumerate(ROWS)]  # type: ignore[arg-type]
    with pytest.raises(BrokenLedger, match=f"row {ROWS[at].id} "):
        check_chain(rows)


@given(st.permutations(range(5)).map(list), st.integers(0, 5))
def test_only_the_first_rows_in_their_order_are_a_chain(order: list[int], kept: int) -> None:
    order = order[:kept]
    rows = [ROWS[number] for number in order]
    if order == list(range(kept)):
        check_chain(rows)
    else:
        with pytest.raises(BrokenLedger, match="was deleted, moved or inserted"):
            check_chain(rows)


def test_a_row_twice_is_found() -> None:
    with pytest.raises(BrokenLedger, match="row 4 does not follow"):
        check_chain([*ROWS[:2], *ROWS[1:]])


def test_an_end_that_was_cut_off_or_written_anew_is_found_by_its_head() -> None:
    remembered = ROWS[3].sha256
    assert check_chain(ROWS[:3]) == ROWS[2].sha256
    with pytest.raises(BrokenLedger, match=f"must contain the hash {remembered}, and does not"):
        check_chain(ROWS[:3], remembered)
    anew = chained(*((row.population, '{"n":7}', row.recorded_at) for row in ROWS))
    assert check_chain(anew) == anew[-1].sha256
    with pytest.raises(BrokenLedger, match="cut off or written anew"):
        check_chain(anew, remembered)
