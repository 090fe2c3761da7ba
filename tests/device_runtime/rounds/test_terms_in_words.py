import msgspec
import pytest

from device_runtime.rounds.terms import Offer, Terms, Wishes
from device_runtime.rounds.terms_in_words import tell_terms
from protocol.plan import PrivacyParameters, PrivacyPromise, SecureAggregationParameters

PROMISE = PrivacyPromise(max_epsilon=4.0, delta=1e-6)


def an_offer(*, noise=0.8, separation_s=3_600.0, promise=PROMISE, secure=None, refusal=""):
    privacy = PrivacyParameters(
        l2_clip_norm=0.25,
        noise_multiplier=noise,
        report_goal=10,
        minimum_separation_s=separation_s,
        promise=promise,
    )
    return Offer(kind="training", privacy=privacy, secure_aggregation=secure, refusal=refusal)


def told(**terms):
    return dict(tell_terms(Terms(**terms)))


def test_nothing_is_claimed_before_it_is_known():
    facts = told()
    assert facts["promised"] == "not known yet; a round's plan says it"
    assert "has not run here" in facts["you ask for"]
    assert len(facts) == 2


def test_a_strong_offer_in_full():
    secure = SecureAggregationParameters(value_bits=16, min_members=16, max_members=64)
    assert told(offer=an_offer(secure=secure)) == {
        "promised": "ε ≤ 4 at δ 1e-06, for all that is ever released",
        "who sees updates": "the service sees sums of 16 devices or more (secure aggregation)",
        "noise": "0.8 times the clipping norm on each sum, added by the service",
        "clipped to": "norm 0.25: how far one report moves a sum, at most",
        "between rounds": "1 hour at least",
        "last round": "training; accepted",
        "you ask for": "not known; `keychorus device run` has not run here",
    }


def test_who_adds_the_noise_is_said():
    offer = an_offer()
    by_devices = msgspec.structs.replace(offer, privacy=msgspec.structs.replace(offer.privacy, noise_by="devices"))
    assert told(offer=by_devices)["noise"] == (
        "0.8 times the clipping norm on each sum, added by the devices in shares, before the service sees it"
    )


def test_a_weak_offer_is_not_made_better():
    facts = told(offer=an_offer(noise=0.0, promise=None, refusal="too weak"))
    assert facts["promised"] == "nothing: what rounds cost has no stated bound"
    assert facts["who sees updates"] == "the service sees each device's"
    assert facts["noise"] == "none"
    assert facts["last round"] == "training; refused: too weak"


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        (Wishes(), "no bound: any round is accepted"),
        (Wishes(require_secure_aggregation=True), "secure aggregation"),
        (Wishes(weakest_promise=PROMISE), "ε ≤ 4 at δ ≤ 1e-06"),
        (Wishes(weakest_promise=PROMISE, require_secure_aggregation=True), "ε ≤ 4 at δ ≤ 1e-06 and secure aggregation"),
        (Wishes(require_device_noise=True), "noise by devices"),
        (
            Wishes(weakest_promise=PROMISE, require_secure_aggregation=True, require_device_noise=True),
            "ε ≤ 4 at δ ≤ 1e-06, secure aggregation and noise by devices",
        ),
    ],
)
def test_wishes_in_words(wishes, sentence):
    assert told(wishes=wishes)["you ask for"] == sentence


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0, "0 minutes"), (90.0, "1.5 minutes"), (86_400.0, "24 hours"), (604_800.0, "7 days")]
)
def test_durations(seconds, words):
    assert told(offer=an_offer(separation_s=seconds))["between rounds"] == f"{words} at least"


@pytest.mark.parametrize(("allowed", "told_of"), [(False, "not allowed"), (True, "votes for words")])
def test_whether_new_words_are_voted_for_is_told(allowed, told_of):
    assert told_of in told(wishes=Wishes(discovers_words=allowed))["discovery of new words"]
