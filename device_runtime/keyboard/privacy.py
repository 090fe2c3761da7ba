"""A release's privacy statement in one or two plain sentences."""

import math
from typing import Annotated

import msgspec

NO_STATEMENT = "This model comes without a statement of what protected the people it learned from."
UNBOUNDED = "Nothing bounds what this model tells of the people it learned from: its statement has no ε."
SUMS_ONLY = " The service saw sums of updates only."
SINGLE_UPDATES = " The service could see single updates."

_STRONG_EPSILON = 1.0
_REASONABLE_EPSILON = 10.0


class _Statement(msgspec.Struct):
    """What the line needs of `privacy_statement.json`; the service writes more."""

    epsilon: Annotated[float, msgspec.Meta(ge=0)] | None
    delta: Annotated[float, msgspec.Meta(ge=0, le=1)]
    unit: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    secure_aggregation: bool | None = None
    """None in statements of before it was said."""


def privacy_line(statement: bytes) -> str:
    """Says how well the people were protected whom a model learned from.

    Args:
      statement: the release's `privacy_statement.json`; signed, so it is the operator's word.

    | statement                     | line                           |
    |-------------------------------|--------------------------------|
    | epsilon <= 1                  | strong                         |
    | epsilon <= 10                 | reasonable                     |
    | epsilon > 10                  | too weak to count on           |
    | epsilon is null               | `UNBOUNDED`                    |
    | not read, or without epsilon  | `NO_STATEMENT`                 |

    A second sentence says what the service saw, where the statement does.

    Source: the three tiers of Ponomareva et al. 2023, arXiv 2303.00654, which calls the last "weak to no" protection.

    >>> privacy_line(b'{"epsilon": 0.8, "delta": 1e-6, "unit": "one device\\'s whole log (zero-out)"}')
    "Strong protection of one device's whole log: ε = 0.80 at δ = 1e-06."

    """
    try:
        found = msgspec.json.decode(statement, type=_Statement)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return NO_STATEMENT
    return _protection(found) + {None: "", True: SUMS_ONLY, False: SINGLE_UPDATES}[found.secure_aggregation]


def _protection(found: _Statement) -> str:
    if found.epsilon is None:
        return UNBOUNDED
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
