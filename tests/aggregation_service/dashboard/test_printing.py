"""The statement's page: whole in itself, and nothing in it that was not meant."""

import re
from dataclasses import replace

import msgspec
import pytest

from aggregation_service.dashboard.printing import statement_page
from aggregation_service.privacy.disclosures import AdaptiveClipping, Released, RoundFacts
from aggregation_service.privacy.ledger import (
    CorrelatedSumReleased,
    DistributedSumReleased,
    GaussianSumReleased,
    LedgerEvent,
    ReleasesLost,
)
from aggregation_service.privacy.mechanisms.parameters import BufferedToeplitz
from aggregation_service.privacy.statement import (
    Circumstances,
    PrivacyStatement,
    make_statement,
    untrained_statement,
)

HEAD = "ab" * 32
ROUND = RoundFacts("cd" * 32, "training", 0.3, separation_rounds=2, participation_limit=4)
CIRCUMSTANCES = Circumstances(report_goal=20, minimum_separation_s=7200.0, rounds={f"{0:032x}": ROUND})
FRESH = GaussianSumReleased(
    round_id=f"{0:032x}",
    model_version=0,
    num_reports=20,
    max_participations=1,
    noise_multiplier=2.0,
    l2_clip_norm=0.5,
)
STEP = CorrelatedSumReleased(
    round_id=f"{0:032x}",
    task_id=7,
    model_version=0,
    step=0,
    mechanism=BufferedToeplitz(decays=(0.875,), scales=(0.25,)),
    num_reports=18,
    max_participations=1,
    stream_participations=1,
    min_separation=1,
    noise_multiplier=2.0,
    l2_clip_norm=0.5,
)
LOST = ReleasesLost(num_releases=3, after_round=0, noise_multiplier=2.0, l2_clip_norm=0.5)


def make(*events: LedgerEvent, circumstances: Circumstances = CIRCUMSTANCES) -> PrivacyStatement:
    return make_statement(events, circumstances, delta=1e-6, ledger_head=HEAD)


def page(statement: PrivacyStatement) -> str:
    return " ".join(statement_page(statement, population="en-gb", release_id=3).split())


def test_says_what_the_statement_says() -> None:
    statement = make(FRESH, STEP)
    written = page(statement)
    for said in (
        "Privacy statement of release 3 of en-gb",
        f"ε = {statement.epsilon:.3g}",
        "δ = 10⁻⁶",
        "2 rounds released a sum, of 18 to 20 reports; goal 20",
        "1 of one device at most, 2 h 0 min apart at least",
        "Correlated noise of task 7",
        "buffered linear Toeplitz (BLT) Gaussian of 1 buffer: decays 0.875; scales 0.25",
        "4 of one device, 2 rounds apart at least",
        HEAD,
        "cd" * 32,
        f"Keychorus {statement.software_version}",
        "keychorus privacy verify en-gb",
    ):
        assert said in written
    for sentence in (*statement.not_protected, *statement.not_checked):
        assert sentence[1:] in written.replace("&#39;", "'")


@pytest.mark.parametrize("kind", ["model", "evaluation", "clipping_quantile", "metrics", "lost"])
def test_every_kind_of_release_has_a_name(kind: str) -> None:
    other = Released(kind=kind, times=77, noise_multiplier=1.0, l2_clip_norm=2.0, metrics=("word_loss",))  # type: ignore[arg-type]
    written = page(msgspec.structs.replace(make(FRESH), released=(other,)))
    assert "77" in written
    assert "word loss" in written


def test_noise_by_devices_says_what_it_counts_on() -> None:
    event = DistributedSumReleased(
        round_id=f"{0:032x}",
        model_version=0,
        num_reports=18,
        max_participations=1,
        noise_multiplier=2.5,
        l2_clip_norm=0.5,
        sigma_numerator=10,
        sigma_denominator=1,
        num_shares=16,
        squared_bound=254,
        vector_length=37,
    )
    assumed = ROUND._replace(adversary_fraction=0.05, dropout_fraction=0.1)
    written = page(make(event, circumstances=replace(CIRCUMSTANCES, rounds={f"{0:032x}": assumed})))
    for said in (
        "nobody must be trusted for the noise",
        "1 group released a sum, of 18 to 18 reports",
        "16 honest shares in each sum",
        "5.0 % of a group side with the service at most, 10.0 % drop out",
    ):
        assert said in written
    mixed = make(event, FRESH)
    assert "must be trusted for the noise" in mixed.trust_mode
    assert "nobody must be" not in mixed.trust_mode


def test_what_has_no_bound_says_so() -> None:
    written = page(make(msgspec.structs.replace(FRESH, noise_multiplier=0.0)))
    assert "ε is unbounded" in written
    assert "There was no noise" in written


def test_statements_with_nothing_in_them_are_pages_too() -> None:
    assert "Nothing of this release was computed from device data" in page(untrained_statement(1e-6, ledger_head=HEAD))
    assert "the books went back to a backup" in page(make(LOST))
    old = msgspec.structs.replace(make(FRESH), released=(), streams=(), ledger_head="", noise="")
    assert "Where this is from" not in page(old)


def test_the_page_needs_nothing_else_and_runs_nothing() -> None:
    written = page(make(FRESH, STEP))
    assert not re.search(r"<script|<link|<img|https?:|url\(|@import", written)


def test_text_is_escaped() -> None:
    rules = replace(CIRCUMSTANCES, robust_rules=("<b>median</b>",))
    written = page(make(FRESH, circumstances=rules))
    assert "&lt;b&gt;median" in written
    assert "<b>median" not in written


def test_clipping_norms_that_adapted_are_told() -> None:
    told = AdaptiveClipping(
        rounds=12, least_norm=0.25, largest_norm=0.75, floor=0.1, ceiling=10.0, target_quantiles=(0.5,)
    )
    written = page(msgspec.structs.replace(make(FRESH), clipping=told))
    assert "0.25 to 0.75 in 12 rounds whose norm followed the 0.5 quantile" in written
    assert "never below 0.1 nor above 10" in written
    assert "Clipping norm" not in page(make(FRESH))


def test_a_plan_a_round_is_not_a_page_of_hashes() -> None:
    hashes = tuple(f"{number:064x}" for number in range(30))
    written = page(msgspec.structs.replace(make(FRESH), plan_sha256=hashes))
    assert hashes[7] in written
    assert hashes[8] not in written
    assert "and 22 more, in the JSON" in written
