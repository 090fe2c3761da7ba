"""A release's privacy statement in one plain line."""

import math
from typing import Annotated

import msgspec

NO_STATEMENT = "This model comes without a statement of what protected the people it learned from."

_STRONG_EPSILON = 1.0
_REASONABLE_EPSILON = 10.0


class _Statement(msgspec.Struct):
    """What the line needs of `privacy_statement.json`; the service writes more."""

    epsilon: Annotated[float, msgspec.Meta(ge=0)]
    delta: Annotated[float, msgspec.Meta(ge=0, le=1)]
    unit: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


def privacy_line(statement: bytes) -> str:
    """Says how well the people were protected whom a model learned from.

    Args:
      statement: the release's `privacy_statement.json`; signed, so it is the operator's word.

    | statement                     | line                           |
    |-------------------------------|--------------------------------|
    | epsilon <= 1                  | strong                         |
    | epsilon <= 10                 | reasonable                     |
    | epsilon > 10                  | too weak to count on           |
    | not read, or without epsilon  | `NO_STATEMENT`                 |

    Source: the three tiers of Ponomareva et al. 2023, arXiv 2303.00654, which calls the last "weak to no" protection.

    >>> privacy_line(b'{"epsilon": 0.8, "delta": 1e-6, "unit": "one device\\'s whole log (zero-out)"}')
    "Strong protection of one device's whole log: ε = 0.80 at δ = 1e-06."

    """
    try:
        found = msgspec.json.decode(statement, type=_Statement)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return NO_STATEMENT
    unit = found.unit.partition(" (")[0]
    return f"{_strength(found.epsilon)} protection of {unit}: ε = {_plain(found.epsilon)} at δ = {found.delta:g}."


def _strength(epsilon: float) -> str:
    if epsilon <= _STRONG_EPSILON:
        return "Strong"
    if epsilon <= _REASONABLE_EPSILON:
        return "Reasonable"
    return "Too weak to count on as"


def _plain(epsilon: float) -> str:
    return f"{epsilon:.2f}" if epsilon < 100 or math.isinf(epsilon) else f"{epsilon:,.0f}"
