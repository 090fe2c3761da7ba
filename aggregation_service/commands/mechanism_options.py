"""The options of commands that choose a mechanism of noise, what is made of them, and what is told of it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import click

from aggregation_service.privacy.mechanisms.parameters import Independent, Mechanism
from aggregation_service.privacy.mechanisms.prefix_error import prefix_error
from aggregation_service.privacy.mechanisms.sensitivity import sensitivity
from aggregation_service.privacy.planning import (
    DEFAULT_BANDS,
    DEFAULT_BUFFERS,
    MECHANISM_KINDS,
    Choices,
    Schedule,
    choose_mechanism,
)
from aggregation_service.privacy.wording import tell_mechanism

_F = TypeVar("_F", bound=Callable[..., Any])
_OF_KIND = {"tree": "restart_every", "banded": "bands", "buffered": "buffers"}
_OF_CORRELATED = ("planned_rounds", "separation_rounds", "max_participations")


class Chosen(NamedTuple):
    """A mechanism, and what it was optimised for: None for independent noise, which is the same for any."""

    mechanism: Mechanism
    schedule: Schedule | None = None
    max_participations: int = 0

    @property
    def settings(self) -> dict[str, Any]:
        """What `RoundParameters` says of it."""
        if self.schedule is None:
            return {"mechanism": self.mechanism}
        separation = self.schedule.min_separation
        return {
            "mechanism": self.mechanism,
            "separation_rounds": separation,
            "max_participations": self.max_participations,
        }


def choice_options(command: _F) -> _F:
    """Adds `--buffers`, `--bands` and `--restart-every`, all None unless given."""
    best = "Of tree: rounds a tree, a power of two; the best, unless given."
    for option in (
        click.option("--restart-every", type=int, help=best),
        click.option("--bands", type=int, help=f"Of banded: one more than the vectors kept; {DEFAULT_BANDS}."),
        click.option("--buffers", type=int, help=f"Of buffered: vectors kept; {DEFAULT_BUFFERS}."),
    ):
        command = option(command)
    return command


def mechanism_options(command: _F) -> _F:
    """Adds `--mechanism`, and, all None unless given, what it is optimised for."""
    for option in (
        choice_options,
        click.option("--max-participations", type=int, help="Reports of one device in the task; as many as fit."),
        click.option("--separation-rounds", type=int, help="Rounds from one report of a device to its next, at least."),
        click.option("--planned-rounds", type=int, help="Of correlated noise: rounds that it is optimised for."),
        click.option(
            "--mechanism",
            "mechanism_kind",
            type=click.Choice(MECHANISM_KINDS),
            default="independent",
            show_default=True,
            help="How noise is correlated from round to round; `keychorus service budget` compares.",
        ),
    ):
        command = option(command)
    return command


def make_choices(options: Mapping[str, Any]) -> Choices:
    """Of those options that were given."""
    return Choices(**{name: options[name] for name in Choices._fields if options[name] is not None})


def take_mechanism(options: dict[str, Any]) -> Chosen:
    """Chooses the mechanism that options ask for, and takes them out of `options`.

    Raises:
      click.UsageError: one is missing, or does not go with the mechanism.
      ValueError: a number out of its bound.

    """
    kind = options.pop("mechanism_kind")
    given = {name: options.pop(name) for name in (*_OF_CORRELATED, *_OF_KIND.values())}
    _check_owners(kind, given)
    if kind == "independent":
        return Chosen(Independent())
    for name in ("planned_rounds", "separation_rounds"):
        if given[name] is None:
            raise click.UsageError(f"--mechanism {kind} needs {_flag(name)}")
    rounds, limit = given["planned_rounds"], given["max_participations"] or 0
    schedule = Schedule(rounds, given["separation_rounds"], limit or rounds)
    return Chosen(choose_mechanism(kind, schedule, make_choices(given)), schedule, limit)


def explain(chosen: Chosen) -> Iterator[str]:
    """Lines that say which mechanism was chosen, what it asks of the noise, and what it gains."""
    if chosen.schedule is None:
        return
    pattern = chosen.schedule._asdict()
    moved = sensitivity(chosen.mechanism, **pattern)
    errors = prefix_error(chosen.mechanism, **pattern), prefix_error(Independent(), **pattern)
    chosen_error, independent_error = (f"{rms:.2f} (largest {largest:.2f})" for rms, largest in errors)
    yield f"noise: {tell_mechanism(chosen.mechanism)}"
    yield f"sensitivity {moved:.4g} over {chosen.schedule.rounds:,} rounds, by which the noise multiplier is divided"
    yield f"error of the weights at equal privacy: {chosen_error}, by independent noise {independent_error}"


def _check_owners(kind: str, given: Mapping[str, Any]) -> None:
    """An option that the mechanism does not have is refused rather than ignored."""
    for owner, name in _OF_KIND.items():
        if owner != kind and given[name] is not None:
            raise click.UsageError(f"{_flag(name)} is of --mechanism {owner}, not of {kind}")
    for name in _OF_CORRELATED:
        if kind == "independent" and given[name] is not None:
            raise click.UsageError(f"{_flag(name)} is of correlated noise, not of --mechanism {kind}")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
