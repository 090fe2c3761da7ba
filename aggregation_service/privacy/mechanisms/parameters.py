"""What names a mechanism: its kind and its numbers, as plans and ledger events carry them.

| here           | papers                                                             |
|----------------|--------------------------------------------------------------------|
| `coefficients` | c_0, c_1, ...: the first column of the lower-triangular Toeplitz C |
| `decays`       | θ_i, the buffers' decay                                            |
| `scales`       | ω_i, the buffers' output scale                                     |

The noise of all rounds is C⁻¹z with z independent. Only C whose coefficients never rise are taken: then the
sensitivity is known exactly (`sensitivity`), and with c_1 < 1 noise of the past fades away, as all zeros of
c_0 + c_1·x + ... lie outside the unit circle (Eneström and Kakeya).
"""

import math
from itertools import pairwise

import msgspec

LARGEST_RESTART = 1 << 16
MOST_BANDS = 1024
MOST_BUFFERS = 16


class _Mechanism(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """The base of all: checked when it is made in a program and when it is decoded."""


class Independent(_Mechanism, frozen=True, tag="independent"):
    """Fresh noise in every round: C is the identity. Source: McMahan et al. 2018, arXiv 1710.06963."""


class Tree(_Mechanism, frozen=True, tag="tree"):
    """Noise on the nodes of binary trees, one tree for every `restart_every` rounds.

    Raises:
      ValueError: `restart_every` is not a power of two in 1 ... 2^16: only then does a tree end with its root.

    Source: Kairouz et al. 2021, arXiv 2103.00039, appendices B and D; Honaker 2015.

    """

    restart_every: int

    def __post_init__(self) -> None:
        if not 1 <= self.restart_every <= LARGEST_RESTART or self.restart_every.bit_count() != 1:
            raise ValueError(
                f"restart_every must be a power of two between 1 and {LARGEST_RESTART}, got {self.restart_every}"
            )

    @property
    def height(self) -> int:
        """Levels above the leaves: log2 of `restart_every`."""
        return self.restart_every.bit_length() - 1


class BandedToeplitz(_Mechanism, frozen=True, tag="banded_toeplitz"):
    """C with as many bands as `coefficients`; all others are zero.

    Raises:
      ValueError: not 1 = c_0 > c_1 >= c_2 >= ... >= 0, or not 1 to 1,024 of them.

    Source: Choquette-Choo et al. 2023, arXiv 2306.08153, section 4.

    """

    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.coefficients) <= MOST_BANDS:
            raise ValueError(f"coefficients must be 1 to {MOST_BANDS}, got {len(self.coefficients)}")
        if self.coefficients[0] != 1:
            raise ValueError(f"the first of the coefficients must be 1, got {self.coefficients[0]}")
        if len(self.coefficients) > 1 and not self.coefficients[1] < 1:
            raise ValueError(f"the second of the coefficients must be < 1, got {self.coefficients[1]}")
        for before, value in pairwise(self.coefficients):
            if not 0 <= value <= before:
                raise ValueError(f"each of the coefficients must be between 0 and that before it, got {value}")


class BufferedToeplitz(_Mechanism, frozen=True, tag="buffered_toeplitz"):
    """BLT: c_0 = 1 and c_j = Σ_i scales_i · decays_i^(j-1), so that as many buffers as decays hold the whole past.

    Raises:
      ValueError: a decay not in [0, 1), a scale not > 0, scales that add up to 1 or more, not as many of the one as of
        the other, or not 1 to 16 of them.

    Source: McMahan, Xu, Zhang 2024, arXiv 2408.08868, section 3.

    """

    decays: tuple[float, ...]
    scales: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.decays) <= MOST_BUFFERS:
            raise ValueError(f"decays must be 1 to {MOST_BUFFERS}, got {len(self.decays)}")
        if len(self.scales) != len(self.decays):
            raise ValueError(f"scales must be as many as the {len(self.decays)} decays, got {len(self.scales)}")
        for decay in self.decays:
            if not 0 <= decay < 1:
                raise ValueError(f"each of the decays must be in [0, 1), got {decay}")
        for scale in self.scales:
            if not scale > 0:
                raise ValueError(f"each of the scales must be > 0, got {scale}")
        if not math.fsum(self.scales) < 1:  # the sum is c_1
            raise ValueError(f"scales must add up to less than 1, got {math.fsum(self.scales)}")


Mechanism = Independent | Tree | BandedToeplitz | BufferedToeplitz
"""Any mechanism, told apart by "kind" in JSON."""

Toeplitz = Independent | BandedToeplitz | BufferedToeplitz
"""Those whose noise is C⁻¹z."""
