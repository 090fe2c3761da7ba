import pytest

from aggregation_service.rounds.optimizer import ServerAverage
from evaluation.audit.settings import AuditSettings, MembershipSettings, SecretSharerSettings
from evaluation.rehearsal.settings import small_size


def test_canary_rounds_only_differ_in_rounds_and_optimiser() -> None:
    settings = AuditSettings(rehearsal=small_size())
    rounds = settings.canary_rounds
    assert (rounds.rounds, rounds.optimizer) == (settings.membership.rounds, ServerAverage())
    assert (rounds.shape, rounds.seed, rounds.cohort) == (small_size().shape, 1, 20)


def test_carriers_are_all_devices_with_a_phrase() -> None:
    assert SecretSharerSettings(rates=((0, 0), (1, 5), (4, 2)), phrases=3).carriers == 15


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf"), 1001.0])
def test_noise_must_be_within_bounds(wrong: float) -> None:
    with pytest.raises(ValueError, match="noise_multiplier must be in"):
        AuditSettings(rehearsal=small_size(), noise_multiplier=wrong)


def test_choices_out_of_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="devices must be >= 50"):
        AuditSettings(rehearsal=small_size(), devices=49)
    with pytest.raises(ValueError, match="canaries must be >= 100, got 99"):
        MembershipSettings(canaries=99)
    with pytest.raises(ValueError, match="delta must be in"):
        MembershipSettings(delta=0)
    with pytest.raises(ValueError, match="noise_share must be in"):
        MembershipSettings(noise_share=1.1)
    with pytest.raises(ValueError, match="references must be >= 1"):
        SecretSharerSettings(references=0)
