import msgspec
import pytest

from aggregation_service.privacy.accounting import privacy_spent
from aggregation_service.privacy.ledger import GaussianSumReleased, ReleasesLost
from aggregation_service.privacy.statement import PrivacyStatement, make_statement


def statement(noise: float = 0.4) -> PrivacyStatement:
    events = [
        GaussianSumReleased(
            round_id=f"{number:032x}",
            model_version=number,
            num_reports=20 - number,
            max_participations=1 + number,
            noise_multiplier=noise,
            l2_clip_norm=0.3,
        )
        for number in range(3)
    ]
    return make_statement(events, report_goal=20, minimum_separation_s=3600, delta=1e-10)


def test_states_the_worst_device() -> None:
    made = statement()
    assert (made.cohort_sizes, made.max_participations) == ((20, 19, 18), 3)
    assert made.epsilon == privacy_spent(0.4, 3, 1e-10).epsilon
    assert "must be trusted" in made.trust_mode
    assert made.not_protected


def test_states_what_was_lost_as_every_device_s() -> None:
    lost = ReleasesLost(num_releases=4, after_round=0, noise_multiplier=0.4, l2_clip_norm=0.3)
    made = make_statement([lost], report_goal=20, minimum_separation_s=3600, delta=1e-10)
    assert (made.cohort_sizes, made.max_participations) == ((), 4)
    assert made.epsilon == privacy_spent(0.4, 4, 1e-10).epsilon


def test_at_scale_the_same_deviation_on_the_average_is_more_noise_on_the_sum() -> None:
    made = statement()
    scale = made.at_scale(cohort=5000, population=10_000_000, rounds=2000, delta=1e-10)
    deviation = made.noise_multiplier * made.l2_clip_norm / made.report_goal
    assert scale.noise_multiplier * made.l2_clip_norm / 5000 == pytest.approx(deviation)
    assert scale.max_participations == 1
    assert scale.epsilon == privacy_spent(100.0, 1, 1e-10).epsilon
    assert made.at_scale(cohort=5000, population=10_000_000, rounds=2001, delta=1e-10).max_participations == 2
    assert made.at_scale(cohort=20, population=30, rounds=7, delta=1e-10).max_participations == 7


def test_without_noise_no_guarantee_is_stated() -> None:
    written = msgspec.json.decode(msgspec.json.encode(statement(noise=0.0)))
    assert written["epsilon"] is None
    assert written["rho"] is None


def test_nothing_released_is_nothing_to_state() -> None:
    with pytest.raises(ValueError, match="at least one ledger event"):
        make_statement([], report_goal=1, minimum_separation_s=0, delta=1e-6)


@pytest.mark.parametrize(("cohort", "population", "rounds"), [(0, 10, 1), (11, 10, 1), (5, 10, 0)])
def test_absurd_scales_are_refused(cohort: int, population: int, rounds: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        statement().at_scale(cohort=cohort, population=population, rounds=rounds, delta=1e-6)


def test_the_unit_is_zero_out_and_nothing_more() -> None:
    made = statement()
    assert "zero-out" in made.unit
    assert "replaced by zero" in made.unit
    assert "add or remove" not in made.unit


@pytest.mark.parametrize(
    "said", ["took part at all", "enrolment token limits", "new id", "several populations", "were shortened"]
)
def test_what_is_not_protected_is_named(said: str) -> None:
    assert any(said in sentence for sentence in statement().not_protected)


def test_says_secure_aggregation_if_every_release_was() -> None:
    secure, plain = (
        GaussianSumReleased(
            round_id="1" * 32,
            model_version=1,
            num_reports=20,
            max_participations=1,
            noise_multiplier=1.0,
            l2_clip_norm=0.3,
            secure_aggregation=is_secure,
        )
        for is_secure in (True, False)
    )
    made = make_statement([secure, secure], report_goal=20, minimum_separation_s=3600, delta=1e-10)
    assert made.trust_mode.startswith("central noise, secure aggregation: ")
    assert "the sum of each group" in made.not_protected[0]
    assert not any("holds it in memory" in sentence for sentence in made.not_protected)
    for events in ([secure, plain], [plain]):
        made = make_statement(events, report_goal=20, minimum_separation_s=3600, delta=1e-10)
        assert made.trust_mode.startswith("central noise, plain upload: ")
        assert "holds it in memory" in made.not_protected[0]
