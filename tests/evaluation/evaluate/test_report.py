import re
from pathlib import Path

import msgspec
from rich.console import Console

from evaluation.evaluate.outcome import Evaluation, decode_evaluation
from evaluation.evaluate.report import print_evaluation, render_evaluation, write_evaluation


def test_the_page_asks_for_nothing_from_outside(an_evaluation: Evaluation) -> None:
    page = render_evaluation(an_evaluation)
    references = re.findall(r'(?:href|src)="([^"]*)"', page)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert all(reference.startswith("#") for reference in references)
    assert {reference[1:] for reference in references} <= set(ids)
    assert len(ids) == len(set(ids))


def test_names_are_escaped(an_evaluation: Evaluation) -> None:
    page = render_evaluation(an_evaluation)
    assert "<unigram>" not in page
    assert "<nurses>" not in page
    assert "&lt;nurses&gt;" in page


def test_page_and_json_say_the_same(an_evaluation: Evaluation, tmp_path: Path) -> None:
    json_path, html_path = write_evaluation(an_evaluation, tmp_path / "new")
    assert decode_evaluation(json_path.read_bytes()) == an_evaluation
    page = " ".join(html_path.read_text(encoding="utf-8").split())
    assert "<td>13.00 <small>(11.70…14.30)</small></td>" in page
    assert "<td>+225.0 <small>(+200.0…+250.0)</small></td>" in page
    assert "<td>6.2 %</td> <td>13.00</td> <td>4.00</td> <td>12</td>" in page.replace("</td><td>", "</td> <td>")
    assert "keyboard <small>(sample)</small>" in page
    assert "4.0 % of them unknown" in page
    assert "<td>9.25 ms</td>" in page
    assert "off by 1.0 points on average" in page


def test_what_was_not_measured_is_not_spoken_of(an_evaluation: Evaluation) -> None:
    (found,) = an_evaluation.populations
    typed = msgspec.structs.replace(found, predictors=found.predictors[1:], comparisons=())
    page = render_evaluation(
        msgspec.structs.replace(an_evaluation, populations=(typed,), rounds=(), training_corpora=())
    )
    assert "Round by round" not in page
    assert "Is a probability kept?" not in page
    assert "Paired" not in page
    assert "more.txt" not in page
    assert "<td>–</td>" in page


def test_what_is_not_installed_is_named(an_evaluation: Evaluation) -> None:
    lacking = msgspec.structs.replace(an_evaluation, absent=("presage is not installed: apt install presage",))
    console = Console(width=80)
    with console.capture() as shown:
        print_evaluation(lacking, console)
    assert "Left out: presage is not installed: apt install presage" in shown.get()
    assert "Left out: presage is not installed" in render_evaluation(lacking)
    assert "Left out" not in render_evaluation(an_evaluation)


def test_plots_have_the_pages_colours(an_evaluation: Evaluation) -> None:
    page = render_evaluation(an_evaluation)
    assert page.count("<svg") == 5 + 1
    assert "var(--line-2)" in page
    assert not re.search(r"#0[0-9]0[0-9]0[0-9]", page)


def test_a_terminal_of_usual_width_shows_all(an_evaluation: Evaluation) -> None:
    console = Console(width=80)
    with console.capture() as shown:
        print_evaluation(an_evaluation, console)
    assert "…)" not in shown.get().replace("\n", " ")
    lines = [line.split() for line in shown.get().splitlines()]
    assert ["<unigram>", "4.00", "7.20", "40.00", "174"] in lines
    assert ["keyboard", "first", "+9.00", "+225.0", "93.8", "%", "6.2", "%"] in lines
    assert ["keyboard", "1.50", "ms", "9.25", "ms", "500"] in lines
