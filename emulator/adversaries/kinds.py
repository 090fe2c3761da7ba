"""The kinds of adversaries by the names that scenarios use."""

from emulator.adversaries.forging import ATTACKS, Forger
from emulator.adversaries.interface import Adversary
from emulator.adversaries.replaying import Replayer
from emulator.adversaries.sybil import Sybil
from emulator.adversaries.violating import Violator

_OTHERS: dict[str, type[Adversary]] = {"replaying": Replayer, "violating": Violator, "sybil": Sybil}
KINDS = (*ATTACKS, *_OTHERS)


def make_adversary(kind: str, l2_clip_norm: float) -> Adversary:
    """Makes an adversary.

    Args:
      kind: one of `KINDS`.
      l2_clip_norm: of the plan, which everybody may read.

    """
    return Forger(ATTACKS[kind], l2_clip_norm) if kind in ATTACKS else _OTHERS[kind]()


def kind_of(adversary: Adversary) -> str:
    """The name of an adversary's kind; `honest` for devices that keep to the plan."""
    return adversary.attack.name if isinstance(adversary, Forger) else adversary.name
