"""What a scenario file may say. Every key has a bound, and every section may be left out.

Unknown keys are refused: a misspelt one would change nothing, and nobody would notice.
"""

from typing import Annotated, Literal

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Hours = Annotated[float, msgspec.Meta(ge=0, le=24 * 366)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
Size = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
NAME_PATTERN = r"^[a-z][a-z0-9-]{0,31}\Z"
Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
LEAST_GROUP = 5
"""Devices of a group of secure aggregation."""


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The network.

    Attributes:
      size: `small` has 33,208 weights, `full` is Gboard's with 1,422,250.
      pretraining_epochs: passes over the donors' text before the first round.

    """

    size: Literal["small", "full"] = "small"
    pretraining_epochs: Annotated[int, msgspec.Meta(ge=0, le=50)] = 2


class Population(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Devices that train one model.

    Attributes:
      name: of the population.
      corpus: what they type: `chitchat`, a file of `evaluation.corpus`, or `made-up:LANGUAGE`, see `emulator.made_up`.
      share: of the fleet's devices, in proportion to the other populations' shares.
      donor_share: share of the corpus' people whose text counts as public, and pre-trains the network.
      held_out_share: share of them that never train, on whom recall is measured.

    """

    name: Name = "english"
    corpus: Annotated[str, msgspec.Meta(min_length=1)] = "chitchat"
    share: Positive = 1.0
    donor_share: Share = 0.05
    held_out_share: Share = 0.2

    def __post_init__(self) -> None:
        if self.donor_share + self.held_out_share >= 1:
            total = self.donor_share + self.held_out_share
            raise ValueError(f"donor_share and held_out_share must leave people for devices, got {total:g} in all")


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the service asks of the devices; names as in the plan and in `RoundParameters`."""

    report_goal: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 10
    minimum_reports: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 6
    over_selection: Annotated[float, msgspec.Meta(ge=1, le=10)] = 1.3
    l2_clip_norm: Positive = 1.0
    noise_multiplier: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 0.3
    minimum_separation_h: Hours = 6.0
    selection_timeout_h: Annotated[float, msgspec.Meta(gt=0, le=168)] = 1.0
    report_deadline_h: Annotated[float, msgspec.Meta(gt=0, le=168)] = 0.5
    secure_aggregation: bool = False
    combining: Literal["mean", "median", "trimmed-mean"] = "mean"
    delta: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 1e-6

    def __post_init__(self) -> None:
        if self.minimum_reports > self.report_goal:
            raise ValueError(f"minimum_reports must be <= report_goal = {self.report_goal}, got {self.minimum_reports}")
        if self.secure_aggregation and self.report_goal < LEAST_GROUP:
            raise ValueError(f"report_goal must be >= {LEAST_GROUP} with secure_aggregation, got {self.report_goal}")
        if self.combining != "mean" and self.secure_aggregation:
            raise ValueError(f'combining must be "mean" with secure_aggregation, got "{self.combining}"')
        if self.combining != "mean" and self.noise_multiplier:
            raise ValueError(f"noise_multiplier must be 0 for the {self.combining}, got {self.noise_multiplier:g}")


class Traces(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When devices may act.

    Attributes:
      csv: a file of one's own, see `emulator.traces.csv_file`; the other keys then count for nothing but joining.
      zones_h: time zones in hours east of UTC, over which devices are spread evenly.
      nights_charged: see `emulator.traces.diurnal.Habits`; likewise the next three.
      absent_share: share of devices that are switched off for a while.
      absent_from_day: when that begins.
      absent_days: how long it lasts.
      join_share: share of devices that are new: they join later than the others.
      join_at_h: when, in hours since the beginning.
      join_within_h: over how many hours they come.

    """

    csv: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    zones_h: Annotated[
        tuple[Annotated[float, msgspec.Meta(ge=-12, le=14)], ...], msgspec.Meta(min_length=1, max_length=40)
    ] = (0.0,)
    nights_charged: Share = 0.55
    day_rests: Annotated[float, msgspec.Meta(ge=0, le=24)] = 5.6
    unmetered_by_day: Share = 0.8
    losses_per_day: Annotated[float, msgspec.Meta(ge=0, le=48)] = 1.0
    absent_share: Share = 0.0
    absent_from_day: Annotated[float, msgspec.Meta(ge=0, le=366)] = 1.0
    absent_days: Annotated[float, msgspec.Meta(ge=0, le=366)] = 0.0
    join_share: Share = 0.0
    join_at_h: Hours = 0.0
    join_within_h: Hours = 0.0


class Hardware(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Machines, see `emulator.traces.hardware.HardwareMix`."""

    seconds_per_step: tuple[Positive, Positive] = (0.4, 2.5)
    full_storage: Share = 0.0
    largest_file_bytes: Annotated[int, msgspec.Meta(ge=4096, le=10**12)] = 50_000
    clock_error_s: Annotated[float, msgspec.Meta(ge=0, le=10 * 366 * 86400)] = 0.0
    clock_drift_s_per_day: Annotated[float, msgspec.Meta(ge=0, le=86400)] = 0.0
    kills_per_step: Share = 0.0
    both_runtimes: bool = False

    def __post_init__(self) -> None:
        if self.seconds_per_step[0] > self.seconds_per_step[1]:
            raise ValueError(f"seconds_per_step must name the fastest first, got {list(self.seconds_per_step)}")


class Typists(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who types.

    Attributes:
      messages_per_day: mean of a person.
      history: share of each person's messages that the log holds when the scenario begins; the rest is typed live.
      watched: share of live messages that are followed key by key, which is what takes time; all are logged.
      vanish_rate: share of training runs that never report: half are picked up, half lose their connection.

    """

    messages_per_day: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 8.0
    history: Share = 0.5
    watched: Share = 0.25
    vanish_rate: Share = 0.08


class AdversaryShare(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Some devices that do not keep to the plan; `kind` is a name in `emulator.adversaries.kinds`."""

    kind: Literal["boosted", "sign-flipped", "backdoored", "random", "replaying", "violating", "sybil"]
    share: Share


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that happens to the service.

    Attributes:
      at_h: when, in hours since the beginning.
      do: `kill-service` ends all its processes at once; `release` ships the newest model of every population;
        `release-spoilt` ships one that predicts badly; `roll-back` takes the newest release back; `plain-reports` makes
        the service ask for reports that it can read, `weak-groups` for groups that protect nobody; the `lie-about-`s
        make it say what is not so, one at a time, see `emulator.lying_service`, until it is to `tell-the-truth`.
      down_h: of `kill-service`, how long the service stays away.

    """

    at_h: Hours
    do: Literal[
        "kill-service", "release", "release-spoilt", "roll-back", "plain-reports", "weak-groups",
        "lie-about-keys", "lie-about-threshold", "lie-about-signature", "tell-the-truth",
    ]  # fmt: skip
    down_h: Hours = 0.0


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole scenario.

    Attributes:
      about: what it rehearses, in a sentence.
      days: how long it lasts.
      devices: how many there are.
      seed: of everything that is drawn.
      require_secure_aggregation: whether the devices' owners refuse rounds whose reports the service would see.

    """

    about: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
    days: Annotated[float, msgspec.Meta(gt=0, le=366)]
    devices: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] = 1
    require_secure_aggregation: bool = False
    model: Model = Model()
    populations: Annotated[tuple[Population, ...], msgspec.Meta(min_length=1, max_length=8)] = (Population(),)
    task: Task = Task()
    traces: Traces = Traces()
    hardware: Hardware = Hardware()
    typists: Typists = Typists()
    adversaries: tuple[AdversaryShare, ...] = ()
    events: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        total = sum(each.share for each in self.adversaries)
        if total > 1:
            raise ValueError(f"adversaries must have shares of at most 1 in all, got {total:g}")
        names = [each.name for each in self.populations]
        if len(set(names)) < len(names):
            raise ValueError(f"populations must have different names, got {', '.join(names)}")
