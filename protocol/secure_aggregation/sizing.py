"""How many neighbours a member of a group needs, and how many of their shares open its secrets.

Both follow from how many members there are and how many of them are assumed to be corrupt or to drop out. The group's
graph is a ring in random order (`graph.py`): each member's neighbours are the `degree` members nearest to it. Three
things must not happen but with a stated probability, each bounded by a union over all members or places of the ring:

1. so many corrupt neighbours that they and the service can open both secrets of a member           (2^-(sigma + 1))
2. honest members that remain but fall into two parts, of which the service learns one sum each      (2^-(sigma + 1))
3. a member with fewer than `threshold` surviving neighbours, so that its group's sum is lost        (2^-eta)

The derivation, the published values beside ours, and which mode to use: `docs/secure-aggregation.md`.

| here           | Bell et al. 2020, eprint 2020/704           |
|----------------|---------------------------------------------|
| num_members    | n                                           |
| degree         | k                                           |
| threshold      | t                                           |
| corrupt        | γn, rounded up: a small group has one too   |
| dropped        | δn, rounded up                              |
| sigma, eta     | σ, η                                        |
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

from protocol.secure_aggregation.errors import SecureAggregationError, WeakParameters

Mode = Literal["semi_honest", "semi_malicious", "malicious"]
"""What the service is assumed to do.

`semi_honest` keeps to the protocol. `semi_malicious` may tell each member another list of survivors, to gather both
kinds of share of one member. `malicious` may also choose whom it calls dropped after it saw the graph, to single out a
few. In every mode the corrupt members tell it all they know.
"""

MAX_MEMBERS = 10_000_000
"""Up to here the rounding of `math.lgamma` stays far below what `_ROUNDING` allows for."""

_MAX_SECURITY_BITS = 256
_MIN_THRESHOLD = 2  # with 1, every neighbour alone could open a member's secrets
_ROUNDING = 1e-6  # of a probability; lgamma errs by 3e-8 at the largest group


class NoSafeGraph(SecureAggregationError):
    """A group so small, or so many corrupt and dropped members, that no degree and threshold would do."""


class GraphSize(NamedTuple):
    """How large a group's graph is.

    Attributes:
      degree: neighbours of each member; even, or all other members.
      threshold: shares of a member's secret that open it; 2 to `degree`.

    """

    degree: int
    threshold: int


@dataclass(frozen=True, slots=True)
class _Group:
    """A group's members as counts, and the chances that are accepted."""

    num_members: int
    corrupt: int
    dropped: int
    sigma: int
    eta: int
    mode: Mode


def size_group(
    num_members: int,
    *,
    adversary_fraction: float,
    dropout_fraction: float,
    sigma: int = 40,
    eta: int = 20,
    mode: Mode = "semi_honest",
) -> GraphSize:
    """Service: the smallest degree with a threshold that is safe and that drop-outs leave within reach.

    Args:
      num_members: n, 2 to `MAX_MEMBERS`.
      adversary_fraction: of the group's members, who collude with the service; 0 <= γ < 1.
      dropout_fraction: of the group's members, who drop out between sharing keys and unmasking; 0 <= δ < 1 - γ.
      sigma: the chance that a graph is not safe is at most 2^-sigma.
      eta: the chance that the sum is lost to at most δn drop-outs is at most 2^-eta.
      mode: what the service is assumed to do.

    Returns:
      The smallest degree of a ring, or `num_members - 1` (everyone is everyone's neighbour) where no ring will do, with
      the smallest threshold that is safe: the fewer shares, the less work to open a secret.

    Guarantees:
      `check_is_safe` accepts the result; fractions mean the decimals that they are written as; rounding errs to the
      safe side. Answers are cached.

    | group                                    | result              |
    |------------------------------------------|---------------------|
    | nobody corrupt, nobody drops out         | 2 / 2               |
    | fewer than 10 members, one corrupt       | often the whole group |
    | more corrupt than survivors              | raises NoSafeGraph  |
    | one member                               | raises ValueError   |

    Raises:
      NoSafeGraph: no graph over so few members is safe under these assumptions; such a group is dropped.
      ValueError: an argument out of its bounds.

    Source: Bell et al. 2020, eprint 2020/704, sections 3.2 to 3.5, with the exact tails of the hypergeometric
      distribution in place of its closed bounds; `malicious` is our own, see the docs.

    """
    if not 2 <= num_members <= MAX_MEMBERS:
        raise ValueError(f"num_members must be 2 to {MAX_MEMBERS}, got {num_members}")
    _check_assumptions(adversary_fraction, dropout_fraction, mode, sigma=sigma, eta=eta)
    corrupt = _share_of(num_members, adversary_fraction)
    dropped = _share_of(num_members, dropout_fraction)
    return _smallest(_Group(num_members, corrupt, dropped, sigma, eta, mode))


def check_is_safe(
    num_members: int,
    degree: int,
    threshold: int,
    *,
    adversary_fraction: float,
    dropout_fraction: float,
    sigma: int = 40,
    mode: Mode = "semi_honest",
) -> None:
    """Device: checks that the graph it was told of is at least as safe as what it demands itself.

    Args:
      num_members: as counted in the roster.
      degree: as told by the service.
      threshold: as told by the service.
      adversary_fraction: γ that this device wants to be safe against.
      dropout_fraction: δ up to which the honest members must stay connected; in the modes `semi_honest` and
        `semi_malicious` a device must refuse a list that calls more than this fraction dropped. `malicious` needs no
        such rule.
      sigma: the chance of an unsafe graph that this device accepts is 2^-sigma.
      mode: what this device fears of the service.

    Guarantees:
      whatever passes is safe as described above, be the group as likely to fail as the service likes: that drop-outs
      leave enough shares is the service's concern, so eta is not looked at.

    Raises:
      WeakParameters: too few members, a degree that no ring has, or a degree or threshold too small.
      ValueError: one of the device's own demands is out of its bounds.

    """
    _require(2 <= num_members <= MAX_MEMBERS, "num_members", f"2 to {MAX_MEMBERS}", num_members)
    _check_assumptions(adversary_fraction, dropout_fraction, mode, sigma=sigma)
    corrupt = _share_of(num_members, adversary_fraction)
    group = _Group(num_members, corrupt, _share_of(num_members, dropout_fraction), sigma, 0, mode)
    fits = 1 <= degree < num_members and (degree % 2 == 0 or degree == num_members - 1)
    _require(fits, "degree", f"even and below {num_members}, or {num_members - 1}", degree)
    least = _least_safe_threshold(group, degree)
    _require(least <= threshold, "threshold", f">= {least} at degree {degree} of {num_members}", threshold)
    _require(threshold <= degree, "threshold", f"at most the degree, {degree}", threshold)
    _require(_stays_connected(group, degree), "degree", f"large enough to keep {num_members} connected", degree)


def _check_assumptions(adversary_fraction: float, dropout_fraction: float, mode: Mode, **security_bits: int) -> None:
    if not (adversary_fraction >= 0 and dropout_fraction >= 0 and adversary_fraction + dropout_fraction < 1):
        given = f"{adversary_fraction} and {dropout_fraction}"
        raise ValueError(f"adversary_fraction and dropout_fraction must be >= 0 and sum to < 1, got {given}")
    for name, bits in security_bits.items():
        if not 1 <= bits <= _MAX_SECURITY_BITS:
            raise ValueError(f"{name} must be 1 to {_MAX_SECURITY_BITS}, got {bits}")
    if mode not in get_args(Mode):
        raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, got {mode}")


def _share_of(num_members: int, fraction: float) -> int:
    """`fraction` of the members, rounded up; of the decimal as it was written, so that 0.07 of 100 are 7 and not 8."""
    return math.ceil(Fraction(str(fraction)) * num_members)


@lru_cache(maxsize=1024)
def _smallest(group: _Group) -> GraphSize:
    """Tries one degree after the other.

    What a degree lacks, one larger by 2 lacks at least less 2: neither the safe threshold nor the neighbours that drop
    out become fewer. So as many steps are skipped, and hopeless cases end after a few.
    """
    everyone = group.num_members - 1
    degree = min(2, everyone)
    while True:
        threshold = _least_safe_threshold(group, degree)
        dropped = _most_among_neighbours(group, group.dropped, degree, bits=group.eta)
        lacking = threshold - (degree - dropped)
        if lacking <= 0 and _stays_connected(group, degree):
            return GraphSize(degree, threshold)
        if degree == everyone:
            raise NoSafeGraph(
                f"num_members must allow for a safe graph in mode {group.mode} with {group.corrupt} corrupt and "
                f"{group.dropped} dropped members, got {group.num_members}"
            )
        degree = min(everyone, degree + max(2, lacking + lacking % 2))


def _least_safe_threshold(group: _Group, degree: int) -> int:
    """The smallest threshold at which c corrupt neighbours are harmless; above `degree` where none is."""
    corrupt = _most_among_neighbours(group, group.corrupt, degree, bits=group.sigma + 1)
    if group.mode == "semi_honest":  # honest neighbours all give one and the same kind of share
        return max(_MIN_THRESHOLD, corrupt + 1)
    # Each honest neighbour gives one kind, each corrupt one both: k + c shares, too few for twice the threshold.
    one_secret = max(_MIN_THRESHOLD, (degree + corrupt) // 2 + 1)
    if group.mode == "semi_malicious":
        return one_secret
    if degree == group.num_members - 1:  # nothing cuts it, but half of the honest members must remain
        return max(one_secret, math.ceil((2 * degree + corrupt) / 3))
    thresholds = range(one_secret, degree + 1)
    return one_secret + bisect_left(thresholds, True, key=lambda t: _no_gap_can_be_made(degree, corrupt, t))


def _no_gap_can_be_made(degree: int, corrupt: int, threshold: int) -> bool:
    """Whether a service that calls whom it likes dropped, to each member differently, cannot cut the ring.

    A cut needs degree/2 successive members of which none remains: at most `corrupt` are corrupt, and of each honest one
    the key is opened, for which threshold - corrupt honest neighbours gave a share. A member gives at most
    degree - threshold of such shares, or it would see too few survivors, and only for its neighbours: a member in the
    gap for the others there, one at either side for the 1, 2, ... degree/2 that it reaches. Both sides of the
    inequality are doubled. Where it holds, more than half of the honest members remain.
    """
    spare = degree - threshold
    return (degree - 2 * corrupt) * (threshold - corrupt) > spare * (3 * degree - 2 * spare + 2)


def _stays_connected(group: _Group, degree: int) -> bool:
    """Whether corrupt and dropped members, wherever they are, leave the honest survivors in one part."""
    if group.mode == "malicious":
        return True  # by `_no_gap_can_be_made`, whatever drops out
    removed = min(group.num_members, group.corrupt + group.dropped)
    return _log2_of_cut(group.num_members, degree, removed) <= -(group.sigma + 1)


def _log2_of_cut(num_members: int, degree: int, removed: int) -> float:
    """Bounds the chance that `removed` of the ring's members, in random order, leave it in two parts.

    A cut needs two separate gaps of degree/2 successive removed members: n (n - k - 1) / 2 places for such a pair, and
    C(n - k, removed - k) of the C(n, removed) ways to remove members remove a given one. Union over the places.
    """
    places = num_members * (num_members - degree - 1) / 2
    if places == 0 or degree > removed:
        return -math.inf
    log_chance = _log_choose(num_members - degree, removed - degree) - _log_choose(num_members, removed)
    return math.log2(places) + log_chance / math.log(2) + _ROUNDING


def _most_among_neighbours(group: _Group, marked: int, degree: int, *, bits: int) -> int:
    """The smallest count that marked neighbours exceed, at any member, with chance 2^-bits at most.

    The neighbours of a member that is not marked itself are drawn from the other n - 1, which hold all marked ones.
    """
    others = group.num_members - 1
    marked = min(marked, others)
    accepted = 2.0**-bits / group.num_members  # union over all members
    counts = range(min(marked, degree) + 1)
    return bisect_left(counts, True, key=lambda count: _tail_bound(others, marked, degree, count + 1) <= accepted)


def _tail_bound(population: int, marked: int, drawn: int, at_least: int) -> float:
    """Bounds the chance that `drawn` of `population`, of whom `marked` are marked, hold `at_least` marked ones.

    The exact tail of the hypergeometric distribution, summed until nothing is added; 1 up to the mean.
    """
    if at_least * population <= marked * drawn:
        return 1.0
    most = min(marked, drawn)
    if at_least > most:
        return 0.0
    log_first = (
        _log_choose(marked, at_least)
        + _log_choose(population - marked, drawn - at_least)
        - _log_choose(population, drawn)
    )
    term = math.exp(log_first) * (1 + _ROUNDING)
    total = 0.0
    for count in range(at_least, most + 1):
        if total + term == total:
            break
        total += term
        term *= (marked - count) * (drawn - count) / ((count + 1) * (population - marked - drawn + count + 1))
    return total


def _log_choose(total: int, chosen: int) -> float:
    """Natural logarithm of the binomial coefficient, 0 <= chosen <= total."""
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)


def _require(holds: bool, name: str, bound: str, got: int) -> None:
    if not holds:
        raise WeakParameters(f"{name} must be {bound}, got {got}")
