import re
from pathlib import Path

import msgspec
from rich.console import Console

from evaluation.audit.outcome import Audit
from evaluation.audit.report import print_audit, render_audit, write_audit


def test_the_page_asks_for_nothing_from_outside(an_audit: Audit) -> None:
    page = render_audit(an_audit)
    references = re.findall(r'(?:href|src)="([^"]*)"', page)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert all(reference.startswith("#") for reference in references)
    assert {reference[1:] for reference in references} <= set(ids)
    assert len(ids) == len(set(ids))


def test_plots_have_the_pages_colours(an_audit: Audit) -> None:
    page = render_audit(an_audit)
    assert page.count("<svg") == 2 + len(an_audit.membership)
    assert "var(--line-5)" in page
    assert not re.search(r"#0[0-9]0[0-9]0[0-9]", page)


def test_the_page_says_whether_a_proof_was_contradicted(an_audit: Audit) -> None:
    assert "No attack found more than was proven." in render_audit(an_audit)
    arm = msgspec.structs.replace(an_audit.membership[0], proven=1.5)
    page = render_audit(msgspec.structs.replace(an_audit, membership=(arm,)))
    assert "Independent noise leaks more than was proven" in page
    assert "No attack found" not in page


def test_the_page_says_that_noise_was_left_out(an_audit: Audit) -> None:
    assert "was added, to see the audit fail" not in render_audit(an_audit)
    arm = msgspec.structs.replace(an_audit.membership[0], noise_share=0.5)
    page = render_audit(msgspec.structs.replace(an_audit, membership=(arm,)))
    assert "Only 50.0 % of the promised noise was added" in " ".join(page.split())


def test_attacks_that_did_not_run_are_not_spoken_of(an_audit: Audit) -> None:
    page = render_audit(msgspec.structs.replace(an_audit, secret_sharer=(), membership=()))
    assert "Words of a device" in page
    assert "planted" not in page
    assert "No attack found" not in page
    assert page.count("<svg") == 1


def test_names_are_escaped(an_audit: Audit) -> None:
    page = render_audit(an_audit)
    assert "<float32>" not in page
    assert "&lt;float32&gt;" in page


def test_page_and_json_say_the_same(an_audit: Audit, tmp_path: Path) -> None:
    json_path, html_path = write_audit(an_audit, tmp_path / "new")
    assert msgspec.json.decode(json_path.read_bytes(), type=Audit) == an_audit
    assert "<td>94.8 %</td>" in html_path.read_text(encoding="utf-8")


def test_tables_have_a_row_for_each_finding(an_audit: Audit) -> None:
    console = Console(width=120)
    with console.capture() as shown:
        print_audit(an_audit, console)
    rows = [line.split() for line in shown.get().splitlines()]
    assert ["noise", "1", "6.57", "12.7", "%", "5.5", "(1)"] in rows
    assert ["independent", "sums", "1.00", "4.40", "4.10", "1.00", "4.38"] in rows
    assert ["before", "training", "12.7", "%", "5.5", "(1)"] in rows
