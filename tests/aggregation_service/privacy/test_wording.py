from fractions import Fraction

import pytest

from aggregation_service.privacy import wording
from aggregation_service.privacy.mechanisms.parameters import (
    BandedToeplitz,
    BufferedToeplitz,
    Independent,
    Mechanism,
    Tree,
)
from aggregation_service.privacy.shares import SumOfShares

BANDS = BandedToeplitz((1.0, *(0.5 for _ in range(11))))


@pytest.mark.parametrize(
    ("mechanism", "said", "numbers"),
    [
        (Independent(), "independent Gaussian", ""),
        (Tree(restart_every=8), "binary-tree Gaussian, restarted every 8 rounds", ""),
        (
            BANDS,
            "banded matrix-factorisation Gaussian of 12 bands",
            ": coefficients 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5 and 4 more",
        ),
        (
            BufferedToeplitz(decays=(0.25,), scales=(0.125,)),
            "buffered linear Toeplitz (BLT) Gaussian of 1 buffer",
            ": decays 0.25; scales 0.125",
        ),
    ],
)
def test_mechanisms_have_names_and_as_many_numbers_as_one_can_read(
    mechanism: Mechanism, said: str, numbers: str
) -> None:
    assert wording.name_mechanism(mechanism) == said
    assert wording.tell_mechanism(mechanism) == said + numbers


@pytest.mark.parametrize(
    ("mechanism", "label"),
    [
        (Independent(), "independent"),
        (Tree(restart_every=8), "tree of 8 rounds"),
        (BANDS, "12 bands"),
        (BufferedToeplitz(decays=(0.25,), scales=(0.125,)), "1 buffer"),
    ],
)
def test_tables_have_labels(mechanism: Mechanism, label: str) -> None:
    assert wording.label_mechanism(mechanism) == label


def test_noise_by_devices_has_a_name_and_a_label() -> None:
    shares = SumOfShares(sigma=Fraction(3), num_shares=90, squared_bound=4, vector_length=5)
    assert wording.name_mechanism(shares) == "discrete Gaussian in shares, which the devices of each group add"
    assert wording.label_shares(96) == "devices, 96 a group"


def test_every_mechanism_is_named_once_and_rules_without_noise_besides() -> None:
    assert wording.name_mechanisms([Independent(), Tree(4), Independent()], []) == (
        "independent Gaussian; binary-tree Gaussian, restarted every 4 rounds"
    )
    assert wording.name_mechanisms([Independent()], ["median", "mode"]) == (
        "independent Gaussian, and none where the service took the median or the mode of updates"
    )


@pytest.mark.parametrize(
    ("floating", "noised", "said"),
    [
        (0, 0, wording.WITHOUT_NOISE),
        (0, 3, wording.ON_GRID),
        (3, 3, wording.IN_FLOATS),
        (1, 3, f"{wording.ON_GRID}; of 1 of 3 sums {wording.IN_FLOATS}"),
    ],
)
def test_how_noise_was_drawn(floating: int, noised: int, said: str) -> None:
    assert wording.name_noise(floating=floating, noised=noised) == said
    not_protected = wording.list_not_protected([], is_secure=False, has_streams=False, floating=floating, noised=noised)
    assert any("Mironov" in sentence for sentence in not_protected) == (floating > 0)
    assert not_protected[: len(wording.NOT_PROTECTED)] == wording.NOT_PROTECTED
