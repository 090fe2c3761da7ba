"""What a privacy statement says in words: what is protected, how, and what is not. Each sentence is the operator's."""

from collections.abc import Iterable, Sequence

from aggregation_service.privacy.mechanisms.parameters import (
    BandedToeplitz,
    BufferedToeplitz,
    Independent,
    Mechanism,
    Tree,
)
from aggregation_service.privacy.shares import SumOfShares

UNIT = "one device's whole log (zero-out: all of one device's updates replaced by zero)"

NOT_PROTECTED = (
    "each single update from the service, which holds it in memory while adding it to the sum",
    "whether a device took part at all: zero-out protects what it contributed, not that it was there",
    "that a device took part, and when, from the service and its network",
    "a cohort from invented devices: an enrolment token limits how many there are, not who made them up with it",
    "a device that comes back under a new id: ids are the devices' own, so its epsilon is above what is stated",
    "a device in several populations: each states its own epsilon, and what they learnt of the device adds up",
    "how many devices were selected and how many reported in each round",
    "how many updates were shortened to the clipping norm in each round: operators see that number without noise",
    "what many devices have in common: words that many people type can be learnt",
)

NOT_PROTECTED_IN_GROUPS = (
    "the sum of each group of devices from the service, which adds the noise",
    "each single update from a service that fills a group with devices of its own: it enrols them",
)
"""In place of the first of `NOT_PROTECTED`, where every update came through secure aggregation."""

NOT_PROTECTED_WITH_SHARES = (
    "each single update from a service that fills a group with devices of its own: it knows their shares of the noise",
)
"""In place of the first of `NOT_PROTECTED`, where devices added all noise."""

NOT_PROTECTED_WHERE_KEPT = (
    "each single update from the service, which keeps it, sealed, until its round closes, for the {rule}",
    "single numbers of updates: where the {rule} leaves one value of a weight, it is one device's own",
)
"""In place of the first of `NOT_PROTECTED`, where rounds combined plain updates by a rule that needs each of them."""

NOT_PROTECTED_IN_FLOATS = (
    "the exact bits of floating-point noise (attack of Mironov 2012): of {floating} of {noised} sums"
)
"""Besides, where sums were noised before there was noise on the integer grid; see `privacy/grid_noise.py`."""

NOT_PROTECTED_IN_STREAMS = (
    "correlated noise from whoever has both the service's signing key and its database or a backup: they open it",
)
"""Besides, where noise was correlated from round to round."""

NOT_PROTECTED_IN_DISCOVERIES = (
    "words that more devices have than a discovery of new words hides: operators read them",
    "beginnings of words that more devices have than a discovery hides: they go to all devices that vote",
)
"""Besides, where devices voted for new words."""

NOT_CHECKED_SHARES = (
    "that devices added their shares of the noise: nobody sees one; {num_shares} honest ones are counted on in each "
    "group of {least_reports} and more, as if {adversaries:.1%} were corrupt and {dropouts:.1%} dropped out"
)
"""Besides, where devices added noise."""

NOT_CHECKED = (
    "that the files were made from the model version that the release names: the service cannot look into them",
)

GAUSSIAN = "independent Gaussian"
NO_MECHANISM = "none: nothing was computed from device data"
PLAIN_UPLOAD = "central noise, plain upload: the service sees each update in memory and must be trusted for the noise"
SECURE_AGGREGATION = (
    "central noise, secure aggregation: nobody sees a single update unless service and a threshold of devices collude; "
    "the service sees the sums of groups, and must be trusted for the noise"
)

DISTRIBUTED_NOISE = (
    "distributed noise, secure aggregation: nobody sees a single update unless service and a threshold of devices "
    "collude; each device adds its share of the noise before it masks, so nobody must be trusted for the noise"
)
SHARES = "discrete Gaussian in shares, which the devices of each group add"

ON_GRID = "discrete Gaussian on an integer grid, from an exact sampler and the operating system's generator"
IN_FLOATS = "Gaussian in floating-point numbers, from the operating system's generator"
WITHOUT_NOISE = "none"

_READABLE = 8


def name_mechanism(mechanism: Mechanism | SumOfShares) -> str:
    """A mechanism and its size in words; its numbers are in the statement's streams.

    >>> name_mechanism(Tree(restart_every=256))
    'binary-tree Gaussian, restarted every 256 rounds'
    """
    match mechanism:
        case SumOfShares():
            return SHARES
        case Independent():
            return GAUSSIAN
        case Tree(restart_every=rounds):
            return f"binary-tree Gaussian, restarted every {rounds} rounds"
        case BandedToeplitz(coefficients=bands):
            return f"banded matrix-factorisation Gaussian of {_counted(len(bands), 'band')}"
        case BufferedToeplitz(decays=decays):
            return f"buffered linear Toeplitz (BLT) Gaussian of {_counted(len(decays), 'buffer')}"


def label_mechanism(mechanism: Mechanism) -> str:
    """The same in a few words, for tables and plots that have room for no more.

    >>> label_mechanism(Tree(restart_every=256))
    'tree of 256 rounds'
    """
    match mechanism:
        case Independent():
            return "independent"
        case Tree(restart_every=rounds):
            return f"tree of {_counted(rounds, 'round')}"
        case BandedToeplitz(coefficients=bands):
            return _counted(len(bands), "band")
        case BufferedToeplitz(decays=decays):
            return _counted(len(decays), "buffer")


def label_shares(members: int) -> str:
    """Likewise, of noise that devices add in groups of up to so many.

    >>> label_shares(128)
    'devices, 128 a group'
    """
    return f"devices, {members} a group"


def tell_mechanism(mechanism: Mechanism) -> str:
    """A mechanism with the first of its numbers, as many as one can read.

    >>> tell_mechanism(BufferedToeplitz(decays=(0.9, 0.5), scales=(0.2, 0.1)))
    'buffered linear Toeplitz (BLT) Gaussian of 2 buffers: decays 0.9, 0.5; scales 0.2, 0.1'
    """
    lists = {name: getattr(mechanism, name) for name in mechanism.__struct_fields__}
    told = [f"{name} {_first(values)}" for name, values in lists.items() if isinstance(values, tuple)]
    return ": ".join([name_mechanism(mechanism), *(["; ".join(told)] if told else [])])


def name_mechanisms(mechanisms: Iterable[Mechanism | SumOfShares], robust_rules: Sequence[str]) -> str:
    """All mechanisms of a ledger, each once, and the rules by which rounds combined updates without any."""
    named = "; ".join(dict.fromkeys(map(name_mechanism, mechanisms))) or GAUSSIAN
    if not robust_rules:
        return named
    return f"{named}, and none where the service took the {' or the '.join(robust_rules)} of updates"


def name_trust(*, is_secure: bool, is_distributed: bool) -> str:
    """Whom one must trust, where all releases were sums by secure aggregation, and where devices added all noise."""
    if is_distributed:
        return DISTRIBUTED_NOISE
    return SECURE_AGGREGATION if is_secure else PLAIN_UPLOAD


def name_noise(*, floating: int, noised: int) -> str:
    """How noise was drawn, where `floating` of `noised` sums have it as floating-point numbers."""
    if not noised:
        return WITHOUT_NOISE
    if not floating:
        return ON_GRID
    return IN_FLOATS if floating == noised else f"{ON_GRID}; of {floating} of {noised} sums {IN_FLOATS}"


def list_not_protected(
    robust_rules: Sequence[str],
    *,
    is_secure: bool,
    has_streams: bool,
    floating: int,
    noised: int,
    is_distributed: bool = False,
    has_discoveries: bool = False,
) -> tuple[str, ...]:
    """What is not protected, in full sentences but for the full stop."""
    kept = tuple(sentence.format(rule=rule) for rule in robust_rules for sentence in NOT_PROTECTED_WHERE_KEPT)
    in_groups = NOT_PROTECTED_WITH_SHARES if is_distributed else NOT_PROTECTED_IN_GROUPS
    seen = (*kept, *in_groups) if is_secure else kept or NOT_PROTECTED[:1]
    streams = NOT_PROTECTED_IN_STREAMS if has_streams else ()
    words = NOT_PROTECTED_IN_DISCOVERIES if has_discoveries else ()
    bits = (NOT_PROTECTED_IN_FLOATS.format(floating=floating, noised=noised),) if floating else ()
    return (*seen, *NOT_PROTECTED[1:], *streams, *words, *bits)


def _counted(count: int, one: str) -> str:
    return f"{count:,} {one}" if count == 1 else f"{count:,} {one}s"


def _first(values: Sequence[float]) -> str:
    shown = ", ".join(f"{value:.6g}" for value in values[:_READABLE])
    return shown if len(values) <= _READABLE else f"{shown} and {len(values) - _READABLE:,} more"
