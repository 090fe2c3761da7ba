"""In mode `malicious` the honest members of any sum that is opened were told one list: docs/secure-aggregation.md.

The argument there needs four inequalities of degree, threshold and corrupt neighbours; every graph that a device takes
has them.
"""

import pytest

from protocol.secure_aggregation import sizing
from protocol.secure_aggregation.sizing import NoSafeGraph, size_group


def has_one_list(degree: int, threshold: int, corrupt: int) -> bool:
    """On a ring: the three of the docs that concern neighbours, and that honest ones reach past either side."""
    return (
        3 * threshold >= 2 * degree + 2 * corrupt + 2
        and 2 * threshold > degree + corrupt
        and 2 * threshold >= degree + 2 * corrupt + 2
        and threshold - corrupt > degree // 2
    )


@pytest.mark.parametrize("degree", [*range(2, 130, 2), 210, 310])
def test_every_ring_that_no_gap_can_be_made_in_has_one_list(degree: int) -> None:
    for corrupt in range(degree):
        for threshold in range((degree + corrupt) // 2 + 1, degree + 1):
            if sizing._no_gap_can_be_made(degree, corrupt, threshold):
                assert has_one_list(degree, threshold, corrupt), (degree, threshold, corrupt)


@pytest.mark.parametrize(("adversaries", "dropouts"), [(0.05, 0.1), (0.05, 0.25), (0.1, 0.1), (0.0, 0.2)])
def test_two_lists_cannot_both_be_confirmed_where_everybody_is_a_neighbour(adversaries: float, dropouts: float) -> None:
    """Signers of two lists are all members but the two who were told them, and only the corrupt sign both."""
    found = 0
    for members in range(5, 60):
        try:
            size = size_group(members, adversary_fraction=adversaries, dropout_fraction=dropouts, mode="malicious")
        except NoSafeGraph:
            continue
        corrupt = sizing._share_of(members, adversaries)
        if size.degree == members - 1:
            found += 1
            assert 2 * size.threshold - corrupt > members - 2
    assert found > 5
