"""The ledger's events: everything released that was computed from device data, each an immutable value.

An event is committed before what it describes is released. An event of an unknown kind is refused, never free.
"""

from typing import Annotated

import msgspec

from protocol.messages import Identifier


class UnknownEvent(Exception):
    """A ledger row that this version cannot read; accounting must stop, for what it cost is not known."""


class GaussianSumReleased(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="gaussian_sum_released"
):
    """A sum of clipped updates was released with Gaussian noise on it.

    `max_participations` counts, over the devices of the population, the reports accepted so far, this round's included.
    `l2_clip_norm` is how far one device moves the sum at most: with `secure_aggregation`, where updates are rounded, a
    little more than what they are clipped to.
    """

    round_id: Identifier
    model_version: Annotated[int, msgspec.Meta(ge=0)]
    num_reports: Annotated[int, msgspec.Meta(ge=1)]
    max_participations: Annotated[int, msgspec.Meta(ge=1)]
    noise_multiplier: Annotated[float, msgspec.Meta(ge=0)]
    l2_clip_norm: Annotated[float, msgspec.Meta(gt=0)]
    secure_aggregation: bool = False


class ReleasesLost(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="releases_lost"
):
    """The books went back to a backup, and sums that were released after it are not in them.

    Who took part in those is lost too, so every device is charged for all of them. Fewer than `num_releases` may have
    been released, and with more noise, but not the other way round. `after_round` is the number of the last round that
    the books still know, 0 if they know none.
    """

    num_releases: Annotated[int, msgspec.Meta(ge=1)]
    after_round: Annotated[int, msgspec.Meta(ge=0)]
    noise_multiplier: Annotated[float, msgspec.Meta(ge=0)]
    l2_clip_norm: Annotated[float, msgspec.Meta(gt=0)]


LedgerEvent = GaussianSumReleased | ReleasesLost
"""Any event; other mechanisms join the union."""


def encode_event(event: LedgerEvent) -> str:
    """Writes an event as one line of JSON, the same for the same event."""
    return msgspec.json.encode(event, order="deterministic").decode()


def decode_event(text: str) -> LedgerEvent:
    """Reads an event.

    Raises:
      UnknownEvent: of an unknown kind, incomplete, or with a value out of its bound.

    """
    try:
        event: LedgerEvent = msgspec.json.decode(text, type=LedgerEvent)
    except msgspec.DecodeError as error:
        raise UnknownEvent(f"a ledger event cannot be read: {error}") from None
    return event
