"""The options of adaptive clipping, what is made of them, and what is told of it."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import click

from aggregation_service.operations.clipping import BOUNDS, default_count_noise, with_count_noise
from aggregation_service.privacy.adaptive_clipping import ClippingParameters
from protocol.plan import Plan

_F = TypeVar("_F", bound=Callable[..., Any])
_OPTIONS = {
    "clipping_quantile": "Share of the devices whose updates shall stay as they are; 0.5.",
    "clipping_learning_rate": "By what factor, as a logarithm, the norm moves in a round at most; 0.2.",
    "clipping_floor": f"The norm is never below; the plan's / {BOUNDS:g}.",
    "clipping_ceiling": f"The norm is never above; the plan's x {BOUNDS:g}.",
    "count_noise": "Deviation of the noise on the count of devices within the norm, in devices; report goal / 20.",
}


class ChosenClipping(NamedTuple):
    """The plan, and how its clipping norm adapts: None where it does not."""

    plan: Plan
    clipping: ClippingParameters | None = None


def clipping_options(command: _F) -> _F:
    """Adds `--adaptive-clipping`, and, all None unless given, its options."""
    for name, text in reversed(_OPTIONS.items()):
        command = click.option(_flag(name), name, type=float, help=f"Of adaptive clipping. {text}")(command)
    help_text = "Let the clipping norm follow a quantile of the updates' norms, from the plan's on."
    return click.option("--adaptive-clipping", is_flag=True, help=help_text)(command)


def take_clipping(plan: Plan, options: dict[str, Any]) -> ChosenClipping:
    """Chooses how clipping adapts, and takes the options of it out of `options`.

    Raises:
      click.UsageError: an option of adaptive clipping without it.
      ValueError: a number out of its bound.
      OperationError: the plan does not go with it.

    """
    is_adaptive = options.pop("adaptive_clipping")
    given = {name: value for name in _OPTIONS if (value := options.pop(name)) is not None}
    if not is_adaptive:
        for name in given:
            raise click.UsageError(f"{_flag(name)} is of --adaptive-clipping")
        return ChosenClipping(plan)
    norm = plan.privacy.l2_clip_norm
    clipping = ClippingParameters(
        target_quantile=given.get("clipping_quantile", 0.5),
        learning_rate=given.get("clipping_learning_rate", 0.2),
        floor=given.get("clipping_floor", norm / BOUNDS),
        ceiling=given.get("clipping_ceiling", norm * BOUNDS),
    )
    return ChosenClipping(with_count_noise(plan, given.get("count_noise", default_count_noise(plan))), clipping)


def explain_clipping(chosen: ChosenClipping) -> Iterator[str]:
    """Lines that say how the norm adapts, and what the count costs."""
    clipping, privacy = chosen.clipping, chosen.plan.privacy
    if clipping is None:
        return
    yield (
        f"clipping norm from {privacy.l2_clip_norm:g} on, between {clipping.floor:g} and {clipping.ceiling:g}, "
        f"after the {clipping.target_quantile:g} quantile"
    )
    more = privacy.report_norm / privacy.l2_clip_norm - 1
    yield f"noise of {privacy.count_noise:g} devices on the count of those within, for {more:.2%} more on weights"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
