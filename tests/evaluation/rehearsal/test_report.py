import re
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from evaluation.metrics import UserCounts, pool
from evaluation.rehearsal.outcome import ArmOutcome, Comparison, Rehearsal, RoundOutcome, difference
from evaluation.rehearsal.report import print_rehearsal, render_rehearsal, write_rehearsal


def an_arm(way: str, attack: str | None, hits: int) -> ArmOutcome:
    users = tuple(
        UserCounts(num_targets=500, top1_hits=hits + user, top3_hits=2 * hits, keystrokes=2_000) for user in range(3)
    )
    rounds = tuple(
        RoundOutcome(
            number=number, attackers=0, reports=20, dropped_groups=0, closed=True, top1=0.1, top3=0.2, loss=5.0
        )
        for number in range(1, 4)
    )
    return ArmOutcome(
        name=way if attack is None else f"{way}, {attack}",
        way=way,
        attack=attack,
        by_user=users,
        backdoor_success=0.25 if attack else 0,
        rounds=rounds,
        seconds=1.0,
    )


@pytest.fixture
def rehearsal() -> Rehearsal:
    arms = (an_arm("mean", None, 60), an_arm("mean", "boosted", 55), an_arm("median", None, 50))
    return Rehearsal(
        name="poisoning",
        size="small",
        seed=7,
        cohort=20,
        devices=459,
        attackers=23,
        trigger="what i really like is",
        word="pizza",
        pretrained=pool(an_arm("none", None, 40).by_user),
        pretrained_curve_top1=0.08,
        num_curve_targets=400,
        arms=arms,
        comparisons=(Comparison(arm=arms[1].name, against="mean", top1=difference(arms[1], arms[0])),),
        software={"keychorus": "0.1.0"},
    )


def test_the_page_asks_for_nothing_from_outside(rehearsal: Rehearsal) -> None:
    page = render_rehearsal(rehearsal)
    references = re.findall(r'(?:href|src)="([^"]*)"', page)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert all(reference.startswith("#") for reference in references)
    assert {reference[1:] for reference in references} <= set(ids)
    assert len(ids) == len(set(ids))


def test_each_way_has_a_picture_with_the_pages_colours(rehearsal: Rehearsal) -> None:
    page = render_rehearsal(rehearsal)
    assert page.count("<svg") == 2
    assert "var(--line-2)" in page
    assert not re.search(r"#0[0-9]0[0-9]0[0-9]", page)
    codec = msgspec.structs.replace(rehearsal, name="codec", attackers=0)
    assert render_rehearsal(codec).count("<svg") == 1


def test_page_and_json_say_the_same(rehearsal: Rehearsal, tmp_path: Path) -> None:
    json_path, html_path = write_rehearsal(rehearsal, tmp_path / "new")
    assert msgspec.json.decode(json_path.read_bytes(), type=Rehearsal) == rehearsal
    page = html_path.read_text(encoding="utf-8")
    assert "<td>12.20</td>" in page
    assert "−1.00 ± 0.00" in page
    assert "23 devices attack" in " ".join(page.split())


def test_the_table_has_a_row_for_each_arm(rehearsal: Rehearsal) -> None:
    console = Console(width=80)
    with console.capture() as shown:
        print_rehearsal(rehearsal, console)
    text = shown.get()
    rows = [line.strip() for line in text.splitlines()]
    assert [row.split("  ")[0] for row in rows if row.startswith(("before", "mean", "boosted", "median"))] == [
        "before",
        "mean",
        "boosted",
        "median",
    ]
    assert any(row.split()[1:] == ["11.20", "−1.00", "±", "0.00", "22.00", "25", "0", "0"] for row in rows)


def test_words_from_outside_are_escaped(rehearsal: Rehearsal) -> None:
    page = render_rehearsal(msgspec.structs.replace(rehearsal, word="<script>"))
    assert "<script>" not in page
