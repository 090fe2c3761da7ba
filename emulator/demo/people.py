"""Who takes part in the demo and what they typed: donors, devices, held-out senders."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from evaluation.corpus import Message, clean, load_chitchat
from evaluation.split import split_by_time, split_senders

MIN_MESSAGES = 20
DEVICE_TEST_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class People:
    """Texts by role and sender; never part of a `repr`.

    Attributes:
      donors: texts of donors, treated as public.
      training: earlier texts of each device's person, in the order in which they were typed.
      device_tests: the last fifth of the same people's texts.
      held_out: texts of people who never train.

    """

    donors: list[str] = field(repr=False)
    training: dict[str, list[str]] = field(repr=False)
    device_tests: dict[str, list[str]] = field(repr=False)
    held_out: dict[str, list[str]] = field(repr=False)
    num_donors: int


def gather_people(
    *, seed: int, max_messages: int, max_devices: int, donor_share: float, held_out_share: float
) -> People:
    """Reads chitchat-dataset and gives each sender a role by a seeded hash; see `evaluation.split`."""
    kept = clean(load_chitchat(), max_per_user=max_messages, min_per_user=MIN_MESSAGES).messages
    senders = split_senders(kept, seed=seed, donor_share=donor_share, held_out_share=held_out_share)
    training, device_tests = {}, {}
    for sender in senders.devices[:max_devices]:
        earlier, last = split_by_time(kept[sender], DEVICE_TEST_SHARE)
        training[sender], device_tests[sender] = _texts(earlier), _texts(last)
    return People(
        donors=[text for sender in senders.donors for text in _texts(kept[sender])],
        training=training,
        device_tests=device_tests,
        held_out={sender: _texts(kept[sender]) for sender in senders.held_out},
        num_donors=len(senders.donors),
    )


def _texts(messages: Sequence[Message]) -> list[str]:
    return [message.text for message in messages]
