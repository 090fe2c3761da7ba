"""What a scenario does to the service, at its time."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial

from aggregation_service import operations
from aggregation_service.config import ServiceConfig
from emulator.entropy import seeded_entropy
from emulator.fleet import Appointment
from emulator.lying_service import LIES, tell
from emulator.rehearsing.ground import PopulationGround
from emulator.rehearsing.host import ServiceHost
from emulator.rehearsing.world import WEAK_GROUPS, begin_task
from emulator.scenarios.schema import Event, Scenario
from emulator.trace import HOUR_S
from protocol.weights import Weights


@dataclass(kw_only=True)
class Timeline:
    """The scenario's events, and what became of them.

    Attributes:
      happened: a sentence for each, in order.

    """

    scenario: Scenario
    grounds: Sequence[PopulationGround]
    config: ServiceConfig
    host: ServiceHost
    start: float
    is_seeded: bool
    happened: list[str] = field(default_factory=list)

    def appointments(self, since: float) -> list[Appointment]:
        """All events from `since` on, those of the same time in the order of the scenario."""
        made = []
        for event in self.scenario.events:
            at = self.start + HOUR_S * event.at_h
            made.append(Appointment(at=at, act=self._act(event)))
            if event.do == "kill-service":
                made.append(Appointment(at=at + HOUR_S * event.down_h, act=self.host.start))
        return sorted((each for each in made if each.at >= since), key=lambda appointment: appointment.at)

    def _act(self, event: Event) -> Callable[[], None]:
        actions: dict[str, Callable[[], str]] = {
            "kill-service": self._kill,
            "release": lambda: self._release(spoilt=False),
            "release-spoilt": lambda: self._release(spoilt=True),
            "roll-back": self._roll_back,
            "plain-reports": self._ask_for_plain_reports,
            "weak-groups": self._ask_for_weak_groups,
            "tell-the-truth": lambda: self._lie(None),
            **{name: partial(self._lie, name) for name in LIES},
        }

        def act() -> None:
            with interrupted_afterwards(), self._randomness(event):
                what = actions[event.do]()
            down = f" and stayed away for {event.down_h:g} h" if event.down_h else ""
            self.happened.append(f"hour {event.at_h:g}: {what}{down}")

        return act

    def _randomness(self, event: Event) -> AbstractContextManager[None]:
        """An operator's ids decide which devices a rollout reaches."""
        name = f"{self.scenario.seed} operator {event.at_h} {event.do}"
        return seeded_entropy(name) if self.is_seeded else nullcontext()

    def _kill(self) -> str:
        self.host.crash()
        return "all processes of the service were killed"

    def _release(self, *, spoilt: bool) -> str:
        from model.export import export_prediction_model

        for laid in self.grounds:
            name = laid.population.name
            _, weights = operations.current_checkpoint(self.config, name)
            files = {
                "prediction_model": export_prediction_model(_spoilt(weights) if spoilt else weights),
                "vocabulary": laid.ground.vocabulary.model,
                "casing": laid.casing.to_tsv(),
            }
            operations.publish_release(self.config, population=name, files=files, actor="rehearsal")
        return "a release that predicts badly was shipped" if spoilt else "the newest model was released"

    def _roll_back(self) -> str:
        for laid in self.grounds:
            operations.rollback_release(self.config, population=laid.population.name, actor="rehearsal")
        return "the newest release was taken back"

    def _ask_for_plain_reports(self) -> str:
        for laid in self.grounds:
            begin_task(self.config, self.scenario, laid, groups=None)
        return "the service asked for reports that it can read"

    def _ask_for_weak_groups(self) -> str:
        for laid in self.grounds:
            begin_task(self.config, self.scenario, laid, groups=WEAK_GROUPS)
        return "the service asked for groups of two, in which it is taken at its word"

    def _lie(self, name: str | None) -> str:
        tell(self.host.lie_path, name)
        return "the service told the truth again" if name is None else LIES[name].told


@contextmanager
def interrupted_afterwards() -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM wait until the block ends: TensorFlow, which makes a release, would swallow them."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: came.append(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def _spoilt(weights: Weights) -> Weights:
    return {name: -value for name, value in weights.items()}
