from fractions import Fraction
from importlib.metadata import version

import msgspec
import pytest

from aggregation_service.privacy.accounting import privacy_spent
from aggregation_service.privacy.disclosures import RoundFacts
from aggregation_service.privacy.ledger import (
    AdaptiveSumReleased,
    CorrelatedSumReleased,
    DistributedSumReleased,
    GaussianSumReleased,
    LedgerEvent,
    ReleasesLost,
)
from aggregation_service.privacy.mechanisms.parameters import Mechanism, Tree
from aggregation_service.privacy.mechanisms.sensitivity import sensitivity
from aggregation_service.privacy.shares import SumOfShares
from aggregation_service.privacy.statement import (
    Circumstances,
    PrivacyStatement,
    make_statement,
    untrained_statement,
)

HEAD = "ab" * 32
CIRCUMSTANCES = Circumstances(report_goal=20, minimum_separation_s=3600)
OLD_FIELDS = {"unit", "trust_mode", "mechanism", "noise_multiplier", "l2_clip_norm", "minimum_separation_s"}
OLD_FIELDS |= {"report_goal", "cohort_sizes", "max_participations", "epsilon", "delta", "rho"}
OLD_FIELDS |= {"not_protected", "not_checked"}


def statement(noise: float = 0.4) -> PrivacyStatement:
    return make_statement(sums(noise), CIRCUMSTANCES, delta=1e-10, ledger_head=HEAD)


def sums(noise: float) -> list[GaussianSumReleased]:
    return [
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


def step(number: int, mechanism: Mechanism, *, secure: bool = False) -> CorrelatedSumReleased:
    """Of a stream in which one device is in every round."""
    return CorrelatedSumReleased(
        round_id=f"{number:032x}",
        task_id=1,
        model_version=number,
        step=number,
        mechanism=mechanism,
        num_reports=9,
        max_participations=number + 1,
        stream_participations=number + 1,
        min_separation=1,
        noise_multiplier=0.4,
        l2_clip_norm=0.3,
        secure_aggregation=secure,
    )


def test_states_the_worst_device() -> None:
    made = statement()
    assert (made.cohort_sizes, made.max_participations) == ((20, 19, 18), 3)
    assert made.epsilon == privacy_spent(0.4, 3, 1e-10).epsilon
    assert "must be trusted" in made.trust_mode
    assert made.not_protected


def test_states_what_was_lost_as_every_device_s() -> None:
    lost = ReleasesLost(num_releases=4, after_round=0, noise_multiplier=0.4, l2_clip_norm=0.3)
    made = make_statement([lost], CIRCUMSTANCES, delta=1e-10, ledger_head=HEAD)
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


def test_at_scale_correlated_noise_is_that_of_the_newest_stream() -> None:
    """A device moves a stream by less than fresh noise would count, where its rounds are in different trees."""
    made = make_statement([step(0, Tree(4)), step(1, Tree(4))], CIRCUMSTANCES, delta=1e-10, ledger_head=HEAD)
    scale = made.at_scale(cohort=1000, population=3000, rounds=8, delta=1e-10)
    assert (scale.max_participations, scale.noise_multiplier) == (3, 0.4 * 1000 / 20)
    moved = sensitivity(Tree(4), rounds=8, min_separation=3, max_participations=3)
    assert scale.epsilon == privacy_spent(scale.noise_multiplier / moved, 1, 1e-10).epsilon
    with pytest.raises(ValueError, match="rounds must be between"):
        made.at_scale(cohort=1, population=3, rounds=1 << 20, delta=1e-10)


def test_streams_are_accounted_and_stated() -> None:
    events = [step(0, Tree(4)), step(1, Tree(4))]
    made = make_statement(events, CIRCUMSTANCES, delta=1e-10, ledger_head=HEAD)
    assert made.mechanism == "binary-tree Gaussian, restarted every 4 rounds"
    assert (made.cohort_sizes, made.max_participations) == ((9, 9), 2)
    (stream,) = made.streams
    assert made.epsilon == privacy_spent(0.4 / stream.sensitivity, 1, 1e-10).epsilon
    assert any("signing key and its database" in sentence for sentence in made.not_protected)
    assert not any("signing key and its database" in sentence for sentence in statement().not_protected)


def test_an_old_statement_is_still_read() -> None:
    """As services wrote it before there were streams."""
    made = msgspec.to_builtins(statement())
    old = {name: value for name, value in made.items() if name in OLD_FIELDS}
    read = msgspec.json.decode(msgspec.json.encode(old), type=PrivacyStatement)
    assert (read.epsilon, read.ledger_head, read.released, read.streams) == (made["epsilon"], "", (), ())
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert(old | {"cost": 1}, PrivacyStatement)


def test_it_says_where_it_is_from() -> None:
    rounds = {f"{number:032x}": RoundFacts(f"{number % 2:064x}", "training", 0.3) for number in range(3)}
    circumstances = Circumstances(report_goal=20, minimum_separation_s=3600, rounds=rounds)
    made = make_statement(sums(0.4), circumstances, delta=1e-10, ledger_head=HEAD)
    assert made.plan_sha256 == (f"{0:064x}", f"{1:064x}")
    assert (made.ledger_head, made.software_version) == (HEAD, version("keychorus"))
    assert untrained_statement(1e-10, ledger_head=HEAD).ledger_head == HEAD


def test_without_noise_no_guarantee_is_stated() -> None:
    written = msgspec.json.decode(msgspec.json.encode(statement(noise=0.0)))
    assert written["epsilon"] is None
    assert written["rho"] is None


def test_nothing_released_is_nothing_to_state() -> None:
    with pytest.raises(ValueError, match="at least one ledger event"):
        make_statement([], CIRCUMSTANCES, delta=1e-6, ledger_head=HEAD)


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


def test_clipping_that_adapts_and_noise_by_devices_are_stated_and_charged_together() -> None:
    shares = SumOfShares(sigma=Fraction(100), num_shares=90, squared_bound=10**6, vector_length=10)
    adapted = AdaptiveSumReleased(
        round_id="1" * 32,
        model_version=1,
        num_reports=20,
        max_participations=1,
        noise_multiplier=2.0,
        l2_clip_norm=0.33,
        update_clip_norm=0.3,
        count_noise=5.0,
        secure_aggregation=True,
    )
    groups = [
        DistributedSumReleased(
            round_id="2" * 32,
            model_version=2,
            num_reports=reports,
            max_participations=2,
            noise_multiplier=shares.gaussian_multiplier,
            l2_clip_norm=0.31,
            sigma_numerator=100,
            sigma_denominator=1,
            num_shares=shares.num_shares,
            squared_bound=shares.squared_bound,
            vector_length=shares.vector_length,
        )
        for reports in (96, 128)
    ]
    lost = ReleasesLost(num_releases=3, after_round=2, noise_multiplier=0.7, l2_clip_norm=0.5)
    made = make_statement([adapted, *groups, lost], CIRCUMSTANCES, delta=1e-10, ledger_head=HEAD)
    assert made.clipping is not None
    assert (made.clipping.rounds, made.clipping.largest_norm) == (1, 0.3)
    assert [(told.sums, told.least_reports) for told in made.shares] == [(2, 96)]
    assert made.cohort_sizes == (20, 96, 128)
    assert made.mechanism.startswith("independent Gaussian; discrete Gaussian in shares")
    assert made.trust_mode.startswith("central noise, plain upload"), "what was lost may have been anything"
    assert made.epsilon == pytest.approx(privacy_spent(0.7, 2 + 3, 1e-10).epsilon)


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
    made = make_statement([secure, step(0, Tree(2), secure=True)], CIRCUMSTANCES, delta=1e-10, ledger_head=HEAD)
    assert made.trust_mode.startswith("central noise, secure aggregation: ")
    assert "the sum of each group" in made.not_protected[0]
    assert not any("holds it in memory" in sentence for sentence in made.not_protected)
    mixed: list[list[LedgerEvent]] = [[secure, plain], [plain], [secure, step(0, Tree(2))]]
    for events in mixed:
        made = make_statement(events, CIRCUMSTANCES, delta=1e-10, ledger_head=HEAD)
        assert made.trust_mode.startswith("central noise, plain upload: ")
        assert "holds it in memory" in made.not_protected[0]
