import msgspec
import pytest

from aggregation_service.privacy.ledger import (
    GaussianSumReleased,
    LedgerEvent,
    ReleasesLost,
    UnknownEvent,
    decode_event,
    encode_event,
)

EVENT = GaussianSumReleased(
    round_id="ab" * 16, model_version=3, num_reports=20, max_participations=2, noise_multiplier=0.7, l2_clip_norm=0.3
)

LOST = ReleasesLost(num_releases=4, after_round=9, noise_multiplier=0.7, l2_clip_norm=0.3)


@pytest.mark.parametrize("event", [EVENT, LOST])
def test_round_trip(event: LedgerEvent) -> None:
    assert decode_event(encode_event(event)) == event
    assert encode_event(event) == encode_event(decode_event(encode_event(event)))


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "laplace_sum_released"},
        {"noise_multiplier": -1},
        {"noise_multiplier": None},
        {"num_reports": 0},
        {"max_participations": 0},
        {"l2_clip_norm": 0},
        {"free_of_charge": True},
    ],
)
def test_what_cannot_be_read_is_refused_and_never_free(changed: dict[str, object]) -> None:
    text = msgspec.json.encode({**msgspec.json.decode(encode_event(EVENT)), **changed}).decode()
    with pytest.raises(UnknownEvent):
        decode_event(text)


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        EVENT.noise_multiplier = 9.0  # type: ignore[misc]
