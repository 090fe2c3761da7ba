from typing import Any

import pytest

from evaluation.statement import write_statement


def statement(**changes: Any) -> str:
    settings: dict[str, Any] = {
        "epsilon": 212.4,
        "delta": 1e-5,
        "cohort": 20,
        "population": 337,
        "scale_epsilon": 0.9,
        "scale_cohort": 5_000,
        "scale_population": 10_000_000,
        "scale_rounds": 24,
        "scale_delta": 1e-10,
    }
    return write_statement(**settings | changes)


def test_a_large_epsilon_is_called_no_protection() -> None:
    text = statement()
    assert "ε = 212 at δ = 1e-5 for a device's whole log. That is too large to be called protection." in text
    assert "only 20 devices" in text
    assert "the average of 5,000 devices in a population of 10,000,000 would give ε = 0.9" in text
    assert "strong protection" in text


def test_an_epsilon_is_told_as_odds() -> None:
    text = statement(epsilon=2.0)
    assert "by a factor of 7.39 at most" in text
    assert "moderate protection" in text
    assert "too large" not in text


@pytest.mark.parametrize("missing", ["epsilon", "scale_epsilon"])
def test_no_noise_promises_nothing(missing: str) -> None:
    text = statement(**{missing: None})
    assert "no differential privacy" in text
    assert "ε" not in text


def test_what_is_bad_at_scale_is_said_too() -> None:
    assert statement(scale_epsilon=30.0).count("too large") == 2
