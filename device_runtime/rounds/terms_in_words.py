"""The terms of privacy as a person reads them: what the population promises, and what this device's owner asks for."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from device_runtime.rounds.terms import Offer, Terms, Wishes
from protocol.plan import PrivacyPromise, SecureAggregationParameters

_HOUR_S = 3600.0
_DAY_S = 24 * _HOUR_S


class Fact(NamedTuple):
    """One line: what it is about, and what holds."""

    about: str
    told: str


def tell_terms(terms: Terms) -> list[Fact]:
    """All that is known, the population's side first.

    >>> [fact.about for fact in tell_terms(Terms())]
    ['promised', 'you ask for']
    """
    return [*_tell_offer(terms.offer), Fact("you ask for", _tell_wishes(terms.wishes)), *_tell_words(terms.wishes)]


def _tell_offer(offer: Offer | None) -> Iterator[Fact]:
    if offer is None:
        yield Fact("promised", "not known yet; a round's plan says it")
        return
    yield Fact("promised", _tell_promise(offer.privacy.promise))
    yield Fact("who sees updates", _tell_sight(offer.secure_aggregation))
    yield Fact("noise", _tell_noise(offer))
    yield Fact("clipped to", f"norm {offer.privacy.l2_clip_norm:g}: how far one report moves a sum, at most")
    yield Fact("between rounds", f"{_duration(offer.privacy.minimum_separation_s)} at least")
    taken = f"refused: {offer.refusal}" if offer.refusal else "accepted"
    yield Fact("last round", f"{offer.kind}; {taken}")


def _tell_promise(promise: PrivacyPromise | None) -> str:
    if promise is None:
        return "nothing: what rounds cost has no stated bound"
    return f"ε ≤ {promise.max_epsilon:g} at δ {promise.delta:g}, for all that is ever released"


def _tell_sight(secure: SecureAggregationParameters | None) -> str:
    if secure is None:
        return "the service sees each device's"
    return f"the service sees sums of {secure.min_members} devices or more (secure aggregation)"


def _tell_noise(offer: Offer) -> str:
    privacy = offer.privacy
    if privacy.noise_multiplier == 0:
        return "none"
    told = f"{privacy.noise_multiplier:g} times the clipping norm on each sum"
    if privacy.noise_by == "devices":
        return f"{told}, added by the devices in shares, before the service sees it"
    return f"{told}, added by the service"


def _tell_wishes(wishes: Wishes | None) -> str:
    if wishes is None:
        return "not known; `keychorus device run` has not run here"
    asked = []
    if wishes.weakest_promise is not None:
        asked.append(f"ε ≤ {wishes.weakest_promise.max_epsilon:g} at δ ≤ {wishes.weakest_promise.delta:g}")
    if wishes.require_secure_aggregation:
        asked.append("secure aggregation")
    if wishes.require_device_noise:
        asked.append("noise by devices")
    return _listed(asked) or "no bound: any round is accepted"


def _tell_words(wishes: Wishes | None) -> Iterator[Fact]:
    if wishes is not None:
        allowed = "your device votes for words that no vocabulary has" if wishes.discovers_words else "not allowed"
        yield Fact("discovery of new words", allowed)


def _listed(parts: Sequence[str]) -> str:
    *most, last = parts or [""]
    return f"{', '.join(most)} and {last}" if most else last


def _duration(seconds: float) -> str:
    unit, unit_s = ("day", _DAY_S) if seconds >= 2 * _DAY_S else ("hour", _HOUR_S)
    if seconds < _HOUR_S:
        unit, unit_s = "minute", 60.0
    told = f"{seconds / unit_s:.3g} {unit}"
    return told if seconds == unit_s else f"{told}s"
