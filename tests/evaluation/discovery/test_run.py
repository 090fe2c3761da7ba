import re
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from evaluation.discovery.levels import Discovery
from evaluation.discovery.outcome import DiscoveryReport
from evaluation.discovery.report import print_discovery, render_discovery, write_discovery
from evaluation.discovery.run import count_levels, count_lone, found_of, rehearse_discovery
from evaluation.discovery.settings import DiscoverySettings
from evaluation.discovery.typed import TypedWords
from protocol.discovery.advancing import Discovered
from protocol.discovery.parameters import DiscoveryParameters

PARAMETERS = DiscoveryParameters(letters="abcdehilnoprstuvxz", steps=(2, 2, 2), max_words=4, max_prefixes=50)
SETTINGS = DiscoverySettings(parameters=PARAMETERS, epsilons=(4.0, 20.0), populations=(20_000,), frequent=60)


@pytest.fixture(scope="module")
def report(typed: TypedWords) -> DiscoveryReport:
    levels: list[int] = []
    found = rehearse_discovery(typed, SETTINGS, corpus="made up", on_level=lambda: levels.append(1))
    assert len(levels) == count_levels(SETTINGS) == 12
    return found


def test_arms_are_by_population_and_epsilon(report: DiscoveryReport) -> None:
    assert [(arm.population, arm.epsilon) for arm in report.arms] == [
        (200, 4.0),
        (200, 20.0),
        (20_000, 4.0),
        (20_000, 20.0),
    ]
    assert all(arm.epsilon_spent <= arm.epsilon for arm in report.arms)
    assert [arm.scale for arm in report.arms] == [1, 1, 0.01, 0.01]


def test_what_many_share_is_found_and_what_one_has_is_not(report: DiscoveryReport) -> None:
    scaled = report.arms[-1]
    assert scaled.at(60).recall == 1
    assert scaled.at(60).true_words == 2
    assert scaled.fewest_people == 15
    assert scaled.at(60).precision == pytest.approx(2 / 3)
    assert report.lone_words == 0


def test_less_noise_finds_more(report: DiscoveryReport) -> None:
    assert report.arms[0].words < report.arms[-1].words
    assert report.arms[0].threshold > report.arms[1].threshold > report.arms[3].threshold


def test_precision_and_recall_are_of_people_not_of_votes(typed: TypedWords) -> None:
    result = Discovery((Discovered("zorbo", 3.0), Discovered("blip", 99.0), Discovered("nobody", 50.0)), ())
    found = found_of(result, typed, 10)
    assert (found.true_words, found.found_words) == (3, 2)
    assert (found.precision, found.recall) == pytest.approx((2 / 3, 2 / 3))
    nothing = found_of(Discovery((), ()), typed, 1_000)
    assert (nothing.precision, nothing.recall) == (None, None)


def test_lone_prefixes_are_noticed(typed: TypedWords) -> None:
    assert count_lone(Discovery((), (("bl", "zz"), ("blip", "xxxx"))), typed) == 2


def test_a_population_smaller_than_there_is_is_refused(typed: TypedWords) -> None:
    settings = DiscoverySettings(parameters=PARAMETERS, populations=(199,))
    with pytest.raises(ValueError, match="at least the 200 devices"):
        rehearse_discovery(typed, settings, corpus="made up", on_level=lambda: None)


@pytest.mark.parametrize(
    "change", [{"epsilons": (0.0,)}, {"populations": (1,)}, {"frequent": 1}, {"delta": 0.0}], ids=str
)
def test_settings_out_of_bounds_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        DiscoverySettings(parameters=PARAMETERS, **change)


def test_page_table_and_json_show_numbers_and_no_word(
    report: DiscoveryReport, typed: TypedWords, tmp_path: Path
) -> None:
    json_path, html_path = write_discovery(report, tmp_path / "new")
    assert msgspec.json.decode(json_path.read_bytes(), type=DiscoveryReport) == report
    console = Console(width=120)
    with console.capture() as shown:
        print_discovery(report, console)
    everything = json_path.read_text() + html_path.read_text() + shown.get()
    assert not any(word in everything for word in typed.people)
    assert "20,000 devices" in shown.get()


def test_the_page_asks_for_nothing_from_outside(report: DiscoveryReport) -> None:
    page = render_discovery(report)
    assert page.count("<svg") == 2
    references = re.findall(r'(?:href|src)="([^"]*)"', page)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert {reference.removeprefix("#") for reference in references} <= set(ids)
    assert "Nothing that only one person had came out" in " ".join(page.split())


def test_a_word_of_one_person_would_be_told(report: DiscoveryReport) -> None:
    arm = msgspec.structs.replace(report.arms[0], lone_words=1)
    leaky = msgspec.structs.replace(report, arms=(arm,))
    assert leaky.lone_words == 1
    assert "1 words or prefixes of one person" in " ".join(render_discovery(leaky).split())
