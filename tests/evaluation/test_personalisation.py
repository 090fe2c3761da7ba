import io
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from device_runtime.releases.release import PUBLIC_KEY_FILE, open_release, read_public_key
from device_runtime.suggestions.predictor import Suggestion
from evaluation.corpus import Message
from evaluation.metrics import UserCounts
from evaluation.personalisation import Help, Typed, measure, measure_person, print_help, type_message


class Scripted:
    """Suggests the same three words whatever came, as far as they begin like the unfinished one."""

    def __init__(self, *words: str):
        self.words = words
        self.asked: list[str] = []

    def suggest(self, text: str) -> list[Suggestion]:
        self.asked.append(text)
        unfinished = text.rpartition(" ")[2].lower()
        return [Suggestion(word, 0.1) for word in self.words if word.lower().startswith(unfinished)][:3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello", UserCounts(num_targets=1, top1_hits=1, top3_hits=1, keystrokes=6, keystrokes_saved=5)),
        ("There", UserCounts(num_targets=1, top3_hits=1, keystrokes=6, keystrokes_saved=5)),
        ("thin", UserCounts(num_targets=1, keystrokes=5, keystrokes_saved=3)),  # fourth, shows after "t"
        ("xyz!", UserCounts(num_targets=1, keystrokes=4)),
        ("?!", UserCounts()),
        ("hello, hello", UserCounts(num_targets=2, top1_hits=2, top3_hits=2, keystrokes=12, keystrokes_saved=10)),
    ],
)
def test_typing_counts_what_a_person_would(text: str, expected: UserCounts) -> None:
    assert type_message(Scripted("hello", "there", "how", "thin"), text) == expected  # type: ignore[arg-type]


def test_only_what_was_typed_before_is_shown_to_the_predictor() -> None:
    scripted = Scripted("zzz")
    type_message(scripted, "Is it?  ok")  # type: ignore[arg-type]
    assert scripted.asked == ["", "I", "Is ", "Is i", "Is it ? ", "Is it ? o"]


@pytest.fixture(scope="module")
def release(release_folder: Path):
    return open_release(release_folder, read_public_key(release_folder / PUBLIC_KEY_FILE))


def said(user: str, *texts: str) -> list[Message]:
    return [Message(user, 1_600_000_000.0 + minute * 60, text) for minute, text in enumerate(texts)]


def test_habits_help_and_noise_does_not_hurt(release) -> None:
    words = [release.model().vocabulary.words[index] for index in sorted(release.model().target_ids)]
    generator = np.random.default_rng(5)
    noise = [" ".join(generator.permutation(words)[:6]) for _ in range(60)]
    people = {"a": said("a", *["we zorble the flink again"] * 60), "b": said("b", *noise)}
    counted = []
    found = measure(release, people, on_person=lambda: counted.append(1))
    assert len(counted) == found.people == 2
    assert found.personal.top1 > found.shared.top1 + 0.3
    assert found.personal.words == found.shared.words == 12 * 5 + 12 * 6
    assert found.worse_for["top3"] <= 0.5
    assert found.better_for["top1"] >= 0.5
    assert found.ratio == found.value / found.reference


@pytest.mark.parametrize(("new", "hits"), [(2, 8 * 4), (5, 5 * 4 + 3 * 3)])
def test_the_later_messages_are_not_known_before_they_are_typed(release, new: int, hits: int) -> None:
    """A phrase of new words is never suggested when it comes first and second, and then it is."""
    messages = said(
        "a", *["we walk home now"] * 40, *["zorble flink quargel"] * new, *["we walk home now"] * (10 - new)
    )
    person = measure_person(release, messages)
    assert person.personal.top3_hits == hits
    assert person.shared.top3_hits == 0


def test_nobody_is_an_error_and_a_result_can_be_shown() -> None:
    with pytest.raises(ValueError, match="at least 1 word"):
        Typed.of(UserCounts())
    shares = {"top1": 0.25, "top3": 0.5, "keystroke_savings": 0.0}
    typed = Typed(top1=0.1, top3=0.2, keystroke_savings=0.3, words=10)
    found = Help(
        value=0.2, reference=0.2, ratio=1, people=4, personal=typed, shared=typed, worse_for=shares, better_for=shares,
        switched_on_for=0.75, fine_tuned_for=0.5,
    )  # fmt: skip
    console = Console(file=io.StringIO(), width=120)
    print_help(found, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "top3" in shown
    assert "75%" in shown
    assert msgspec.json.decode(msgspec.json.encode(found))["personal"]["top1"] == 0.1
