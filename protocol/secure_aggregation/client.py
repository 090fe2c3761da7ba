"""A device's side of secure aggregation: one type a stage, each asked once.

`Advertising` → `Sharing` → `Masking` → `Confirming` → `Unmasking`. Every method takes the service's answer to the
message before it and gives the next stage with the next message. A stage is spent by the first attempt, whatever came
of it, and nothing of a session is ever written down: a device that restarts, or is told anything wrong, drops out.
"""

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.errors import MalformedMessage
from protocol.lanes import LaneArray, check_lanes
from protocol.secure_aggregation.errors import StageSpent, WrongSurvivors
from protocol.secure_aggregation.masked_input import encode_masked_input
from protocol.secure_aggregation.member_secrets import MemberSecrets, RandomBytes
from protocol.secure_aggregation.membership import Membership, Terms, read_roster
from protocol.secure_aggregation.messages import (
    Confirmation,
    Confirmations,
    DeliveredShares,
    EncryptedShares,
    KeyBundle,
    SurvivorList,
    UnmaskingShares,
    decode,
    encode,
    require_session,
    split_bytes,
)
from protocol.secure_aggregation.shares import NeighbourShares
from protocol.secure_aggregation.signing import SIGNATURE_BYTES, confirms, sign_survivors
from protocol.secure_aggregation.survivors import from_bitmap, require_one_sum


class _Stage:
    """What can be asked once."""

    _spent = False

    def _spend(self) -> None:
        if self._spent:
            raise StageSpent(f"{type(self).__name__} must be asked once")
        self._spent = True


class Advertising(_Stage):
    """Stage 0: makes the keys of a session, and signs them with the one that the device enrolled."""

    def __init__(self, terms: Terms, identity: Ed25519PrivateKey, random_bytes: RandomBytes) -> None:
        self._terms, self._secrets = terms, MemberSecrets.draw(identity, random_bytes)

    def advertise(self) -> tuple["Sharing", bytes]:
        """The next stage and a `KeyBundle`.

        Raises:
          StageSpent: asked before.

        """
        self._spend()
        bundle = self._secrets.bundle(self._terms.task)
        return Sharing(self._terms, self._secrets, bundle), encode(bundle)


class Sharing(_Stage):
    """Stage 1: learns who its neighbours are, and leaves shares of its two secrets with them."""

    def __init__(self, terms: Terms, secrets: MemberSecrets, bundle: KeyBundle) -> None:
        self._terms, self._secrets, self._bundle = terms, secrets, bundle

    def share(self, roster: bytes) -> tuple["Masking", bytes]:
        """The next stage and `EncryptedShares`.

        Args:
          roster: a `Roster`, hostile until checked.

        Raises:
          MalformedMessage, WrongRoster, WeakParameters, WrongBundle, BadPoint: as `membership.read_roster`.
          StageSpent: asked before.

        """
        self._spend()
        membership = read_roster(roster, self._terms, self._bundle)
        sealed = self._secrets.seal_shares(membership)
        message = EncryptedShares(session_id=membership.session_id, sender=membership.index, sealed=sealed)
        return Masking(self._terms, self._secrets, membership), encode(message)


class Masking(_Stage):
    """Stage 2: keeps its neighbours' shares, and masks its input so that only a sum can be unmasked."""

    def __init__(self, terms: Terms, secrets: MemberSecrets, membership: Membership) -> None:
        self._terms, self._secrets, self._membership = terms, secrets, membership

    def mask(self, delivery: bytes, values: LaneArray) -> tuple["Confirming", bytes]:
        """The next stage and a masked input.

        Args:
          delivery: `DeliveredShares`, hostile until checked.
          values: the input, lanes [vector_length] of `lane_dtype(value_bits)`; not changed.

        Guarantees:
          the masked input is uniform to whoever lacks this member's self-mask, or one honest neighbour's pairwise one.

        Raises:
          MalformedMessage: not `DeliveredShares`, or not one from each neighbour that is said to have shared.
          WrongSession: of another round, task or group.
          WrongSurvivors: this device, or too many of its neighbours, are not among those who shared.
          BadSeal: shares that were changed, or are of another member.
          StageSpent: asked before.
          ValueError: `values` of another type or length.

        Source: Bonawitz et al. 2017, arXiv 1611.04482, figure 4, round 2.

        """
        self._spend()
        membership = self._membership
        self._require_input(values)
        message = decode(delivery, DeliveredShares)
        require_session(membership.session_id, message.session_id)
        sharers = from_bitmap(message.sharers, len(membership.order))
        senders = _neighbours_among(membership, sharers)
        kept = self._secrets.open_shares(membership, senders, message.sealed)
        payload = encode_masked_input(
            self._secrets.masked(values, membership, senders),
            membership.parameters,
            membership.session_id,
            membership.index,
        )
        return Confirming(self._terms, self._secrets, membership, message.sharers, kept), payload

    def _require_input(self, values: LaneArray) -> None:
        check_lanes(values, self._terms.value_bits)
        if values.size != self._terms.vector_length:
            raise ValueError(f"values must be {self._terms.vector_length}, got {values.size}")


class Confirming(_Stage):
    """Stage 3: signs whose inputs it is told are in the sum, for its neighbours to see that they were told the same."""

    def __init__(
        self,
        terms: Terms,
        secrets: MemberSecrets,
        membership: Membership,
        sharers: bytes,
        kept: Mapping[int, NeighbourShares],
    ) -> None:
        self._terms, self._secrets, self._membership = terms, secrets, membership
        self._sharers, self._kept = sharers, kept

    def confirm(self, survivor_list: bytes) -> tuple["Unmasking", bytes]:
        """The next stage and a `Confirmation`.

        Args:
          survivor_list: a `SurvivorList`, hostile until checked.

        Raises:
          MalformedMessage: not a `SurvivorList` of a group of this size.
          WrongSession: of another round, task or group.
          WrongSurvivors: too few in all or among the neighbours, in several parts, without this device, or with members
            who had not shared their secrets.
          StageSpent: asked before.

        Source: Bonawitz et al. 2017, arXiv 1611.04482, figure 4, round 3 (ConsistencyCheck).

        """
        self._spend()
        membership = self._membership
        message = decode(survivor_list, SurvivorList)
        require_session(membership.session_id, message.session_id)
        survivors = from_bitmap(message.survivors, len(membership.order))
        if not survivors <= from_bitmap(self._sharers, len(membership.order)):
            raise WrongSurvivors("survivors must be among those who shared their secrets")
        least = self._terms.least_survivors(len(membership.order))
        require_one_sum(survivors, membership.order, membership.parameters.degree, least)
        peers = _neighbours_among(membership, survivors)
        signature = sign_survivors(self._secrets.identity, membership.session_id, self._sharers, message.survivors)
        confirmation = Confirmation(session_id=membership.session_id, sender=membership.index, signature=signature)
        told = (self._sharers, message.survivors)
        return Unmasking(membership, told, peers, self._kept), encode(confirmation)


class Unmasking(_Stage):
    """Stage 4: gives one share of each neighbour's secrets away, if enough neighbours were told the same."""

    def __init__(
        self,
        membership: Membership,
        told: tuple[bytes, bytes],
        peers: list[int],
        kept: Mapping[int, NeighbourShares],
    ) -> None:
        self._membership, self._told, self._peers, self._kept = membership, told, peers, kept

    def unmask(self, confirmations: bytes) -> bytes:
        """The last message: `UnmaskingShares`.

        Args:
          confirmations: `Confirmations` of neighbours that survived, hostile until checked.

        Guarantees:
          of survivors it gives a share of the self-mask's seed, of others one of the mask's key: never both of one.

        Raises:
          MalformedMessage: not `Confirmations`, of one neighbour twice, or not one signature from each.
          WrongSession: of another round, task or group.
          WrongSurvivors: too few neighbours confirmed, one of them something else than this device was told.
          StageSpent: asked before.

        Source: Bonawitz et al. 2017, arXiv 1611.04482, figure 4, round 4.

        """
        self._spend()
        membership = self._membership
        message = decode(confirmations, Confirmations)
        require_session(membership.session_id, message.session_id)
        self._require_agreement(message)
        survivors = set(self._peers)
        shares = (
            kept.self_mask_seed if neighbour in survivors else kept.mask_private_key
            for neighbour, kept in self._kept.items()
        )
        return encode(
            UnmaskingShares(session_id=membership.session_id, sender=membership.index, shares=b"".join(shares))
        )

    def _require_agreement(self, message: Confirmations) -> None:
        membership = self._membership
        signatures = split_bytes(message.signatures, SIGNATURE_BYTES, len(message.senders), "signatures")
        if list(message.senders) != sorted(set(message.senders) & set(self._peers)):
            raise MalformedMessage("confirmations must be of surviving neighbours, once each, by ascending index")
        if len(signatures) < membership.parameters.threshold:
            raise WrongSurvivors(
                f"neighbours that confirm must be >= {membership.parameters.threshold}, got {len(signatures)}"
            )
        for sender, signature in zip(message.senders, signatures, strict=True):
            identity_key = membership.neighbours[sender].identity_key
            if not confirms(signature, identity_key, membership.session_id, *self._told):
                raise WrongSurvivors(f"neighbour {sender} must have been told the same as this device, it was not")


def _neighbours_among(membership: Membership, members: frozenset[int]) -> list[int]:
    """Neighbours of this member among `members`, itself one of them: ascending, enough to put a secret together."""
    if membership.index not in members:
        raise WrongSurvivors("this device must be among those who go on")
    found = [neighbour for neighbour in membership.neighbours if neighbour in members]
    if len(found) < membership.parameters.threshold:
        raise WrongSurvivors(f"neighbours that go on must be >= {membership.parameters.threshold}, got {len(found)}")
    return found
