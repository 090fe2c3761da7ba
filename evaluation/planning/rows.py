"""A plan's rows: a figure, and whether it was measured, assumed, or follows from others."""

from typing import Literal

import msgspec

Origin = Literal["measured", "assumed", "derived"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of a plan.

    Attributes:
      name: what it is.
      value: None where there is none, such as epsilon without noise.
      unit: of it; empty for a number of things.
      origin: where it comes from.
      source: the command that measured it, the paper that it is from, or what it follows from.

    """

    name: str
    value: bool | float | str | None
    unit: str
    origin: Origin
    source: str


def derived(name: str, value: float | str | None, unit: str, source: str) -> Row:
    """A figure that follows from others."""
    return Row(name=name, value=value, unit=unit, origin="derived", source=source)
