"""A scenario's world on disk: the service with its populations, and the devices that will find it."""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from aggregation_service import operations
from aggregation_service.clock import set_file_clock
from aggregation_service.config import UNLIMITED, ServiceConfig, load_config, render_config
from aggregation_service.rounds.combining import Combining, Mean, Median, TrimmedMean
from aggregation_service.rounds.optimizer import ServerAverage, ServerMomentum
from aggregation_service.rounds.parameters import RoundParameters
from emulator.device import World
from emulator.rehearsing.ground import PopulationGround
from emulator.scenarios.schema import LEAST_GROUP, Scenario, Task
from emulator.trace import HOUR_S
from protocol.plan import Plan, PrivacyParameters, SecureAggregationParameters

VIRTUAL_START = datetime(2026, 1, 5, tzinfo=UTC).timestamp()
"""A Monday's midnight."""
_GROUPS = SecureAggregationParameters(
    value_bits=12, min_members=LEAST_GROUP, max_members=32, dropout_fraction=0.2, mode="semi_malicious"
)
WEAK_GROUPS = msgspec.structs.replace(_GROUPS, min_members=2, mode="semi_honest")
"""What no device joins, whoever signed it."""
_TOKEN_USES = 4
"""Enrolments a device: who forgets who it was may come so often."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Where things are, in one folder.

    Attributes:
      folder: of the rehearsal.
      is_virtual: whether it lives in virtual time.

    """

    folder: Path
    is_virtual: bool

    @property
    def world(self) -> Path:
        """All that is gone when the rehearsal is over."""
        return self.folder / "world"

    @property
    def clock(self) -> Path | None:
        """The service's clock file."""
        return self.world / "clock" if self.is_virtual else None

    @property
    def config(self) -> ServiceConfig:
        """Of the service."""
        return load_config(self.config_path)

    @property
    def config_path(self) -> Path:
        """Of the service."""
        return self.world / "service" / "service.toml"

    def vocabulary(self, population: str) -> Path:
        """The vocabulary that a population's devices have installed."""
        return self.world / f"{population}.model"

    def texts(self, population: str, person: int) -> Path:
        """What one of a population's people types."""
        return self.world / "people" / population / f"{person:05d}.json"

    def count_people(self, population: str) -> int:
        """How many people type in a population."""
        return sum(1 for _ in self.texts(population, 0).parent.glob("*.json"))

    def device(self, index: int) -> Path:
        """A device's disk; a thousand in a folder."""
        return self.world / "devices" / f"{index // 1000:04d}" / f"{index % 1000:03d}"


def make_world(layout: Layout, scenario: Scenario, grounds: Sequence[PopulationGround], start: float) -> None:
    """Makes the service, its populations with a task each, and the people; devices make themselves when they wake."""
    config = make_service(layout, start, privacy_delta=scenario.task.delta)
    for laid in grounds:
        operations.add_population(config, laid.population.name)
        begin_task(config, scenario, laid)
        settle_people(layout, laid)


def make_service(
    layout: Layout, start: float, *, privacy_delta: float, database_url: str | None = None
) -> ServiceConfig:
    """Makes the service's files, without rate limits: all devices of a fleet have one address.

    Args:
      layout: whose world is not there yet.
      start: what its clock shows, in seconds since 1970.
      privacy_delta: at which it tells epsilon.
      database_url: an existing, empty database; None for a SQLite file.

    """
    layout.world.mkdir(parents=True)
    if layout.clock is not None:
        set_file_clock(layout.clock, start)
    paths = operations.initialise(
        layout.world / "service", clock_path=layout.clock, privacy_delta=privacy_delta, database_url=database_url
    )
    config = dataclasses.replace(
        load_config(paths.config_path), address_rate_limit=UNLIMITED, device_rate_limit=UNLIMITED
    )
    paths.config_path.write_text(render_config(config), encoding="utf-8")
    return config


def settle_people(layout: Layout, laid: PopulationGround) -> None:
    """Writes what a population's people will type, and the vocabulary that its devices have installed."""
    name = laid.population.name
    layout.vocabulary(name).write_bytes(laid.ground.vocabulary.model)
    for person, texts in enumerate(laid.texts):
        path = layout.texts(name, person)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(texts))


def begin_task(
    config: ServiceConfig,
    scenario: Scenario,
    laid: PopulationGround,
    *,
    groups: SecureAggregationParameters | Literal["first"] | None = "first",
) -> None:
    """Begins a population's task, or one that goes on from its newest weights.

    Args:
      config: of the service.
      scenario: says what is asked of devices.
      laid: the population.
      groups: of secure aggregation, None for plain reports; "first" is what the scenario says, with the first weights.

    """
    task, is_first = scenario.task, groups == "first"
    secure = (_GROUPS if task.secure_aggregation else None) if groups == "first" else groups
    operations.create_task(
        config,
        population=laid.population.name,
        plan=_plan(task, laid, secure=secure),
        training_graph=laid.ground.graph,
        checkpoint=laid.ground.pretrained if is_first else None,
        parameters=_parameters(task),
        optimizer=ServerMomentum(momentum=0.9, learning_rate=1.0) if task.combining == "mean" else ServerAverage(),
        vocabulary=laid.ground.vocabulary.model,
    )


def worlds_of(layout: Layout, scenario: Scenario, *, url: str, start: float, is_seeded: bool) -> list[World]:
    """What the devices of each population share; tokens are made anew, for those of before may be used up."""
    config, worlds = layout.config, []
    for population in scenario.populations:
        uses = _TOKEN_USES * scenario.devices
        token = operations.create_enrolment_token(
            config, population.name, uses=uses, days=max(1, round(2 * scenario.days) + 1)
        ).token
        worlds.append(
            World(
                service_url=url,
                population=population.name,
                public_key=operations.public_key(config),
                enrolment_token=token,
                vocabulary_path=layout.vocabulary(population.name),
                start=start,
                entropy=f"{scenario.seed} device" if is_seeded else None,
                refreshes_releases=any(event.do.startswith("release") for event in scenario.events),
                require_secure_aggregation=scenario.require_secure_aggregation,
            )
        )
    return worlds


def _plan(task: Task, laid: PopulationGround, *, secure: SecureAggregationParameters | None) -> Plan:
    settings = laid.ground.settings
    return Plan(
        tensors=settings.shape.tensors,
        training=settings.training,
        privacy=PrivacyParameters(
            l2_clip_norm=task.l2_clip_norm,
            noise_multiplier=task.noise_multiplier,
            report_goal=task.report_goal,
            minimum_separation_s=HOUR_S * task.minimum_separation_h,
        ),
        secure_aggregation=secure,
    )


def _parameters(task: Task) -> RoundParameters:
    """Devices ask seldom, and groups wait long: see `emulator.demo.settings`."""
    rules: dict[str, Combining] = {"mean": Mean(), "median": Median(), "trimmed-mean": TrimmedMean(trim=0.2)}
    return RoundParameters(
        minimum_reports=task.minimum_reports,
        over_selection=task.over_selection,
        selection_timeout_s=HOUR_S * task.selection_timeout_h,
        report_deadline_s=HOUR_S * task.report_deadline_h,
        gather_s=150,
        stage_timeout_s=90,
        poll_s=60,
        combining=rules[task.combining],
    )
