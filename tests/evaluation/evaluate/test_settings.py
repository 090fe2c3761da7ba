import pytest

from evaluation.evaluate.settings import EvaluationSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("held_out_share", 0.0),
        ("held_out_share", 1.0),
        ("held_out_share", float("nan")),
        ("min_messages", 1),
        ("max_messages", 19),
        ("max_users", 0),
        ("max_words", 0),
        ("suggester_words", 0),
        ("keystrokes", 0),
        ("draws", 0),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be .* got {value}$"):
        EvaluationSettings(**{name: value})


def test_no_limit_is_a_choice() -> None:
    assert EvaluationSettings(max_messages=None, max_users=None).max_words is None
