"""What a device agreed to, and what it makes of the roster that the service gives it: its place in one group."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from protocol.errors import MalformedMessage
from protocol.secure_aggregation.errors import WeakParameters, WrongBundle, WrongRoster
from protocol.secure_aggregation.graph import neighbours, ring_order
from protocol.secure_aggregation.messages import (
    MAX_MEMBERS,
    GroupParameters,
    KeyBundle,
    Roster,
    decode,
    session_id_of,
    split_bytes,
)
from protocol.secure_aggregation.signing import DIGEST_BYTES, Task
from protocol.secure_aggregation.sizing import Mode, check_is_safe


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What a device demands of a session: from the signed plan, and its own floor whoever signed it.

    Attributes:
      task: what the session is for.
      value_bits: b; sums are modulo 2^b.
      vector_length: values of one update.
      min_members: fewest members of a group, and of a sum.
      max_members: most members of a group.
      adversary_fraction: of the members, who may side with the service; the graph must be safe against them.
      dropout_fraction: of the members, who may be called dropped out, rounded up.
      sigma: the chance that a graph it accepts is not safe is 2^-sigma.
      mode: what it fears of the service (`sizing.Mode`).

    """

    task: Task
    value_bits: int
    vector_length: int
    min_members: int
    adversary_fraction: float
    dropout_fraction: float
    max_members: int = MAX_MEMBERS
    sigma: int = 40
    mode: Mode = "semi_malicious"

    def least_survivors(self, num_members: int) -> int:
        """Fewest survivors of a group of `num_members` whose sum may be known."""
        may_drop_out = math.ceil(Fraction(str(self.dropout_fraction)) * num_members)
        return max(self.min_members, num_members - may_drop_out)


@dataclass(frozen=True, kw_only=True, slots=True)
class Membership:
    """A device's place in a group whose roster it checked.

    Attributes:
      session_id: 32 bytes that stand for all the roster says.
      parameters: of the group.
      index: its own.
      order: of the ring.
      neighbours: their bundles by index, ascending.

    """

    session_id: bytes
    parameters: GroupParameters
    index: int
    order: tuple[int, ...]
    neighbours: Mapping[int, KeyBundle]


def read_roster(payload: bytes, terms: Terms, own: KeyBundle) -> Membership:
    """Device: checks a roster against its terms and the bundle that it advertised.

    Args:
      payload: a `Roster`, hostile until checked.
      terms: the device's.
      own: its bundle.

    Guarantees:
      who accepts the same roster has the same session id, graph and parameters, and whoever was given another roster
      has another session id: nothing made for the one can be opened in the other. Every neighbour signed its keys for
      this task, and no key stands for two of them.

    Raises:
      MalformedMessage: no roster.
      WrongRoster: too few members, bundles not in their order or listed twice, this device's own not among them, other
        bundles than those listed, or another length or number of bits than the plan's.
      WeakParameters: a degree or threshold that is not safe enough for the device.
      WrongBundle: a neighbour's bundle of another task or round, badly signed, or that repeats a key.
      BadPoint: a neighbour's key with which no secret can be agreed on.

    """
    roster = decode(payload, Roster)
    digests = _digests(roster, terms)
    _check_parameters(roster.parameters, len(digests), terms)
    if own.digest() not in digests:
        raise WrongRoster("a roster must list this device's own bundle, unchanged")
    session_id = session_id_of(terms.task, roster.parameters, digests)
    index = digests.index(own.digest())
    order = ring_order(session_id, len(digests))
    indices = neighbours(order, roster.parameters.degree, index)
    if [bundle.digest() for bundle in roster.neighbours] != [digests[neighbour] for neighbour in indices]:
        raise WrongRoster("a roster must hold the bundles of this device's neighbours, as they are listed")
    for bundle in roster.neighbours:
        bundle.verify(terms.task)
    require_distinct((own, *roster.neighbours))
    return Membership(
        session_id=session_id,
        parameters=roster.parameters,
        index=index,
        order=order,
        neighbours=dict(zip(indices, roster.neighbours, strict=True)),
    )


def require_distinct(bundles: tuple[KeyBundle, ...]) -> None:
    """Both sides: refuses bundles of which two share a key, an identity or a self-mask.

    Raises:
      WrongBundle: two do.

    """
    for name in ("identity_key", "self_mask_digest"):
        if len({getattr(bundle, name) for bundle in bundles}) < len(bundles):
            raise WrongBundle(f"no two bundles of a group may share their {name}")
    keys = {key for bundle in bundles for key in (bundle.mask_key, bundle.encryption_key)}
    if len(keys) < 2 * len(bundles):
        raise WrongBundle("no public key of a group may occur twice")


def _digests(roster: Roster, terms: Terms) -> list[bytes]:
    if len(roster.digests) % DIGEST_BYTES:
        raise MalformedMessage(f"digests of a roster must be of {DIGEST_BYTES} bytes each")
    digests = split_bytes(roster.digests, DIGEST_BYTES, len(roster.digests) // DIGEST_BYTES, "digests")
    if not terms.min_members <= len(digests) <= terms.max_members:
        bounds = f"between {terms.min_members} and {terms.max_members}"
        raise WrongRoster(f"members of a roster must be {bounds}, got {len(digests)}")
    if any(first >= second for first, second in itertools.pairwise(digests)):
        raise WrongRoster("a roster must list each bundle once, by ascending digest")
    return digests


def _check_parameters(parameters: GroupParameters, num_members: int, terms: Terms) -> None:
    if (parameters.value_bits, parameters.vector_length) != (terms.value_bits, terms.vector_length):
        raise WrongRoster("a roster's value_bits and vector_length must be those of the plan")
    if num_members < 2:
        raise WeakParameters(f"members of a roster must be >= 2, got {num_members}")
    check_is_safe(
        num_members,
        parameters.degree,
        parameters.threshold,
        adversary_fraction=terms.adversary_fraction,
        dropout_fraction=terms.dropout_fraction,
        sigma=terms.sigma,
        mode=terms.mode,
    )
