"""The agent: a device's part in a round, one persisted transition at a time.

    waiting ──check in──► assigned ──download──► configured ──train──► trained ──report──► waiting
       ▲                      │                      │                    │
       └──────────────────────┴──── dropped: deadline, interrupted training, refusal by either side

`step` makes one transition and writes the state before it returns, so that a process may be killed anywhere: what was
not written is done again, with the same result, and the service counts a report once. A transfer that a condition cut
short is such a transition: it is made again, until the deadline. Training that a condition cut short is dropped.
"""

import dataclasses
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device_runtime.environment import DeviceEnvironment
from device_runtime.network.client import MalformedAnswer, ServiceClient, ServiceRefused, ServiceUnavailable
from device_runtime.network.transfer import TransferStopped
from device_runtime.rounds.agent_state import (
    AgentState,
    Assigned,
    Configured,
    DamagedState,
    StateFile,
    Timer,
    Trained,
    Waiting,
)
from device_runtime.rounds.outcome import Event, Outcome
from device_runtime.rounds.round_files import RoundFiles
from device_runtime.rounds.spool import Spool
from device_runtime.rounds.trainer import Interrupted, LocalUpdate, NothingToTrain, PlanDoesNotFit, train
from device_runtime.runtime import InvalidModel, runtime_name
from device_runtime.storage.files import UnreadableData
from device_runtime.typing_log import TypingLog
from protocol.clipping import clip_to_norm, l2_norm
from protocol.errors import ProtocolError
from protocol.messages import CheckIn, ComeBack
from protocol.update import encode_update
from tokenizer.vocabulary import InvalidVocabulary, Vocabulary

POLL_S = 60.0
"""How soon conditions, consent or an empty log are looked at again."""
SHORTEST_PAUSE_S = 1.0
"""A service that says 0 is not asked in a loop."""
FIRST_RETRY_S = 30.0
LONGEST_RETRY_S = 3600.0

_TEXT_POLL_S = 0.2

_logger = logging.getLogger(__name__)
_REFUSALS = (MalformedAnswer, ProtocolError, PlanDoesNotFit, InvalidModel, InvalidVocabulary, UnreadableData)


@dataclass(frozen=True, kw_only=True)
class Enrolment:
    """Whom a device works with: the service's address, its population, and the key that manifests must be signed by."""

    service_url: str
    population: str
    public_key: Ed25519PublicKey


class Agent:
    """One device in one population. Not for use by two threads or processes at once."""

    def __init__(
        self,
        environment: DeviceEnvironment,
        enrolment: Enrolment,
        log: TypingLog,
        vocabulary: Vocabulary | None = None,
    ):
        """Takes up the work where the state in the data directory says.

        Args:
          environment: the device.
          enrolment: service, population and key.
          log: what to train on.
          vocabulary: the installed one, used by rounds whose manifest names none or the same.

        Raises:
          InsecureAddress: the service's address would send updates unencrypted.
          UnusableKey: the spool's key is damaged or readable by others.

        """
        folder = environment.data_directory / enrolment.population
        self._environment = environment
        self._enrolment = enrolment
        self._log = log
        self._state_file = StateFile(folder / "agent.json")
        self._spool = Spool(folder)
        self._client = ServiceClient(enrolment.service_url, environment.http, self._must_stop)
        self._files = RoundFiles(folder / "cache", self._client, enrolment.population, enrolment.public_key, vocabulary)

    def step(self) -> Outcome:
        """Makes at most one transition.

        Returns:
          What happened and when to call again. Whatever the service does wrong is an outcome, never an exception. A
          damaged state file is set aside, with a warning in the program's log.

        Guarantees:
          returns within a second of the end of any condition, of consent, or of the process (`is_ending`).

        Raises:
          OSError: the data directory cannot be written or read.

        """
        before = self._client.bytes_up, self._client.bytes_down
        outcome = self._step()
        return dataclasses.replace(
            outcome, bytes_up=self._client.bytes_up - before[0], bytes_down=self._client.bytes_down - before[1]
        )

    def _step(self) -> Outcome:
        now = self._environment.clock()
        stored = self._load_state(now)
        state = stored.settled(now)
        if state != stored:
            self._state_file.save(state)
        if (pause_s := state.pause.remaining_s(now)) > 0:
            return Outcome(event=Event.WAITING, next_step_in_s=pause_s)
        if not isinstance(state.phase, Waiting) and state.phase.deadline.remaining_s(now) == 0:
            return self._drop(state, Event.EXPIRED)
        if not self._log.consent:
            return self._drop(state, Event.NO_CONSENT)
        if reason := self._environment.conditions.read().explain():
            return Outcome(event=Event.NOT_ELIGIBLE, next_step_in_s=POLL_S, reason=reason)
        return self._guarded_transition(state)

    def _load_state(self, now: float) -> AgentState:
        try:
            return self._state_file.load()
        except DamagedState as error:
            aside = self._state_file.set_aside(now)
            _logger.warning("%s; it lies at %s now, and the agent begins anew", error, aside)
            return self._state_file.load()

    def _guarded_transition(self, state: AgentState) -> Outcome:
        try:
            return self._transition(state)
        except ServiceUnavailable as error:
            return self._retry_later(state, str(error))
        except (TransferStopped, Interrupted) as error:
            return self._interrupted(state, error)
        except ServiceRefused as error:
            return self._drop(state, Event.REJECTED, str(error), failed=True)
        except NothingToTrain as error:
            return self._drop(state, Event.NOTHING_TO_TRAIN, str(error), failed=True)
        except _REFUSALS as error:
            return self._drop(state, Event.REFUSED, str(error), failed=True)

    def _interrupted(self, state: AgentState, error: TransferStopped | Interrupted) -> Outcome:
        """Training that a condition ended is dropped; everything else goes on where it was, until the deadline."""
        if isinstance(error, Interrupted) and not self._environment.is_ending():
            return self._drop(state, Event.INTERRUPTED, str(error), failed=True)
        return Outcome(event=Event.INTERRUPTED, next_step_in_s=POLL_S, reason=str(error))

    def _transition(self, state: AgentState) -> Outcome:
        match state.phase:
            case Waiting():
                return self._check_in(state)
            case Assigned() as phase:
                return self._configure(state, phase)
            case Configured() as phase:
                return self._train(state, phase)
            case Trained() as phase:
                return self._report(state, phase)

    def _check_in(self, state: AgentState) -> Outcome:
        self._spool.clear()
        if (wait_s := state.separation.remaining_s(self._environment.clock())) > 0:
            return Outcome(event=Event.WAITING, next_step_in_s=wait_s, reason="minimum separation")
        num_messages = self._log.counts().messages
        if num_messages == 0:
            return Outcome(event=Event.NOTHING_TO_TRAIN, next_step_in_s=POLL_S)
        message = CheckIn(device_id=state.device_id, runtime=runtime_name(), num_examples=num_messages)
        self._state_file.save(state)  # the device's id, before anybody else knows it
        answer = self._client.check_in(self._enrolment.population, message)
        now = self._environment.clock()
        if isinstance(answer, ComeBack):
            pause_s = max(answer.reconnect_after_s, SHORTEST_PAUSE_S)
            self._save(state, pause=Timer(now, pause_s), failures=0)
            return Outcome(event=Event.TOLD_TO_WAIT, next_step_in_s=pause_s, reason=answer.reason)
        self._save(state, phase=Assigned(answer, Timer(now, answer.report_within_s)))
        return Outcome(event=Event.SELECTED)

    def _configure(self, state: AgentState, phase: Assigned) -> Outcome:
        manifest = self._files.open_manifest(phase.selected, state.newest_model_version)
        self._files.load(manifest)
        self._files.keep_only(manifest)
        version = manifest.model_version
        self._save(state, phase=Configured(phase.selected, phase.deadline), newest_model_version=version)
        return Outcome(event=Event.CONFIGURED, model_version=version)

    def _train(self, state: AgentState, phase: Configured) -> Outcome:
        configuration = self._files.load(self._files.open_manifest(phase.selected, state.newest_model_version))
        plan = configuration.plan
        local = train(
            plan,
            configuration.graph,
            configuration.checkpoint,
            self._texts(plan.training.max_words),
            configuration.vocabulary,
            seed=int(phase.selected.assignment_id, 16),  # a killed process trains again, to the same update
            should_stop=self._should_stop,
        )
        clipped = clip_to_norm(local.update, plan.privacy.l2_clip_norm)
        self._spool.put(phase.selected.assignment_id, encode_update(clipped.update))
        self._save(state, phase=Trained(phase.selected, phase.deadline, plan.privacy.minimum_separation_s))
        numbers = _numbers(local, was_clipped=clipped.was_clipped)
        return Outcome(event=Event.TRAINED, numbers=numbers, model_version=state.newest_model_version)

    def _report(self, state: AgentState, phase: Trained) -> Outcome:
        selected = phase.selected
        if self._log.counts().messages == 0:
            raise NothingToTrain("the log was wiped after it was trained on")
        update = self._spool.get(selected.assignment_id)
        # The separation begins before the upload: a report whose receipt is lost may well be counted.
        state = self._save(state, separation=Timer(self._environment.clock(), phase.minimum_separation_s))
        receipt = self._client.report(selected, update)
        if receipt.assignment_id != selected.assignment_id:
            raise MalformedAnswer("a receipt must name the assignment that was reported, got another")
        pause_s = max(receipt.reconnect_after_s, SHORTEST_PAUSE_S)
        self._save(
            state,
            phase=Waiting(),
            pause=Timer(self._environment.clock(), pause_s),
            failures=0,
            rounds_reported=state.rounds_reported + 1,
        )
        self._spool.clear()
        self._files.forget_checkpoint(selected)
        return Outcome(event=Event.REPORTED, next_step_in_s=pause_s, model_version=state.newest_model_version)

    def _texts(self, max_words: int) -> Iterator[str]:
        """The newest messages; whoever encodes them is interrupted between two, as between two training steps."""
        polled_at = time.monotonic()
        for message in self._log.messages(max_words):
            if time.monotonic() - polled_at > _TEXT_POLL_S:
                if self._must_stop():
                    raise Interrupted("training was stopped before its first step")
                polled_at = time.monotonic()
            yield message.text

    def _should_stop(self) -> bool:
        return self._environment.should_abort() or self._must_stop()

    def _must_stop(self) -> bool:
        environment = self._environment
        return environment.is_ending() or not environment.conditions.read().eligible or not self._log.consent

    def _retry_later(self, state: AgentState, reason: str) -> Outcome:
        """Keeps the phase and waits, twice as long after each failure, spread over half of that."""
        longest_s = min(FIRST_RETRY_S * 2.0 ** min(state.failures, 16), LONGEST_RETRY_S)
        pause_s = longest_s * (0.5 + 0.5 * self._environment.jitter())
        # From the file: a step that failed half-way may have saved more than it was given.
        self._save(
            self._state_file.load(), pause=Timer(self._environment.clock(), pause_s), failures=state.failures + 1
        )
        return Outcome(event=Event.UNAVAILABLE, next_step_in_s=pause_s, reason=reason)

    def _drop(self, state: AgentState, event: Event, reason: str = "", *, failed: bool = False) -> Outcome:
        """Gives up the assignment, if there is one; after a failure waits as `_retry_later` does."""
        self._spool.clear()
        if not isinstance(state.phase, Waiting):
            self._files.forget_checkpoint(state.phase.selected)
        if failed:
            self._retry_later(state, reason)
        state = self._save(self._state_file.load(), phase=Waiting())
        pause_s = state.pause.remaining_s(self._environment.clock())
        return Outcome(event=event, next_step_in_s=pause_s or POLL_S, reason=reason)

    def _save(self, state: AgentState, **changes: object) -> AgentState:
        changed = msgspec.structs.replace(state, **changes)
        self._state_file.save(changed)
        return changed


def _numbers(local: LocalUpdate, *, was_clipped: bool) -> dict[str, float]:
    return {
        "steps": local.steps,
        "num_targets": local.num_targets,
        "first_loss": local.first_loss,
        "last_loss": local.last_loss,
        "update_norm": l2_norm(local.update),
        "was_clipped": float(was_clipped),
    }
