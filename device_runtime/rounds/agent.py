"""The agent: a device's part in a round, one persisted transition at a time.

    waiting ──check in──► assigned ──download──► configured ──train──► trained ──report──► waiting
       ▲                      │                      │                    │ └─ advertised ─┘ │
       └──────────────────────┴──── dropped: deadline, interrupted training, refusal by either side

`step` makes one transition and writes the state before it returns, so that a process may be killed anywhere: what was
not written is done again, with the same result, and the service counts a report once. A transfer that a condition cut
short is such a transition: it is made again, until the deadline. Training that a condition cut short is dropped.
Where the plan asks for secure aggregation a report takes several steps (`secure_report`), whose secrets are never
written: a process that ends among them drops the round.
Before its first check-in a device enrols its key (`enrolling` tells what follows where the service will not have it).
"""

import dataclasses
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device_runtime.environment import DeviceEnvironment
from device_runtime.network.client import MalformedAnswer, ServiceClient, ServiceRefused, ServiceUnavailable
from device_runtime.network.identity import RequestSigner, load_identity_key, new_identity_key
from device_runtime.network.transfer import TransferStopped
from device_runtime.rounds.agent_state import (
    Advertised,
    AgentState,
    Assigned,
    Configured,
    DamagedState,
    StateFile,
    Timer,
    Trained,
    Waiting,
)
from device_runtime.rounds.configuration import PlainReports
from device_runtime.rounds.enrolling import consequence_of
from device_runtime.rounds.outcome import Event, Outcome
from device_runtime.rounds.round_files import RoundFiles
from device_runtime.rounds.secure_report import SessionLost, SessionMemory, encode_lanes, new_report, task_of
from device_runtime.rounds.spool import Spool
from device_runtime.rounds.trainer import Interrupted, NothingToTrain, PlanDoesNotFit
from device_runtime.rounds.work import do_work
from device_runtime.runtime import InvalidModel, runtime_name
from device_runtime.storage.files import UnreadableData
from device_runtime.typing_log import TypingLog
from protocol.clipping import clip_to_norm
from protocol.enrolment import Enrol
from protocol.errors import ProtocolError
from protocol.messages import CheckIn, ComeBack, Receipt, Selected
from protocol.plan import SecureAggregationParameters
from protocol.secure_aggregation.inputs import require_floor
from protocol.update import encode_update
from tokenizer.vocabulary import InvalidVocabulary, Vocabulary

POLL_S = 60.0
"""How soon conditions, consent or an empty log are looked at again."""
SHORTEST_PAUSE_S = 1.0
"""A service that says 0 is not asked in a loop."""
FIRST_RETRY_S = 30.0
LONGEST_RETRY_S = 3600.0
FIRST_SESSION_RETRY_S = 2.0
LONGEST_SESSION_RETRY_S = 16.0
"""Within a session others wait for this device, for a minute or so."""
SESSION_GRACE_S = 300.0
"""A session that is under way at the round's deadline still counts; longer than this it never takes."""

_TEXT_POLL_S = 0.2

_logger = logging.getLogger(__name__)
_REFUSALS = (
    MalformedAnswer,
    ProtocolError,
    PlainReports,
    PlanDoesNotFit,
    InvalidModel,
    InvalidVocabulary,
    UnreadableData,
)


@dataclass(frozen=True, kw_only=True)
class Enrolment:
    """Whom a device works with.

    Attributes:
      service_url: the service's address.
      population: the one to join.
      public_key: manifests must be signed by it, and requests are for its owner alone.
      token: the operator's, which the service may ask for when it first sees this device's key.
      require_secure_aggregation: the owner's wish: rounds whose reports the service would see are refused.

    """

    service_url: str
    population: str
    public_key: Ed25519PublicKey
    token: str | None = field(default=None, repr=False)
    require_secure_aggregation: bool = False


class Agent:
    """One device in one population. Not for use by two threads or processes at once."""

    def __init__(
        self,
        environment: DeviceEnvironment,
        enrolment: Enrolment,
        log: TypingLog,
        vocabulary: Vocabulary | None = None,
        memory: SessionMemory | None = None,
    ):
        """Takes up the work where the state in the data directory says.

        Args:
          environment: the device.
          enrolment: service, population and key.
          log: what to train on.
          vocabulary: the installed one, used by rounds whose manifest names none or the same.
          memory: of the agent before, where one process makes several for one device.

        Raises:
          InsecureAddress: the service's address would send updates unencrypted.
          UnusableKey: the spool's key, or the device's own, is readable by others.

        """
        folder = environment.data_directory / enrolment.population
        self._environment = environment
        self._enrolment = enrolment
        self._log = log
        self._folder = folder
        self._state_file = StateFile(folder / "agent.json")
        self._spool = Spool(folder)
        self._memory = SessionMemory() if memory is None else memory
        self._key = load_identity_key(folder)
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
            return self._retry_later(str(error))
        except (TransferStopped, Interrupted, SessionLost) as error:
            return self._interrupted(state, error)
        except ServiceRefused as error:
            return self._refused(state, error)
        except NothingToTrain as error:
            return self._drop(state, Event.NOTHING_TO_TRAIN, str(error), failed=True)
        except _REFUSALS as error:
            return self._drop(state, Event.REFUSED, str(error), failed=True)

    def _interrupted(self, state: AgentState, error: TransferStopped | Interrupted | SessionLost) -> Outcome:
        """Training that a condition ended is dropped, and a session whose process ended; everything else goes on where
        it was, until the deadline.
        """
        ended = isinstance(error, Interrupted) and not self._environment.is_ending()
        if ended or isinstance(error, SessionLost):
            return self._drop(state, Event.INTERRUPTED, str(error), failed=True)
        return Outcome(event=Event.INTERRUPTED, next_step_in_s=POLL_S, reason=str(error))

    def _refused(self, state: AgentState, error: ServiceRefused) -> Outcome:
        """Gives up the assignment, and mends the enrolment if that is what was refused."""
        follows = consequence_of(error, state, has_token=self._enrolment.token is not None)
        if "device_id" in follows.changes:
            self._key = new_identity_key(self._folder)
        self._save(self._state_file.load(), **follows.changes)
        outcome = self._drop(state, follows.event, follows.reason, failed=True)
        if follows.pause_s is None:
            return outcome
        self._save(self._state_file.load(), pause=Timer(self._environment.clock(), follows.pause_s))
        return dataclasses.replace(outcome, next_step_in_s=follows.pause_s)

    def _transition(self, state: AgentState) -> Outcome:
        self._client.signer = self._signer(state.device_id)
        match state.phase:
            case Waiting():
                return self._check_in(state)
            case Assigned() as phase:
                return self._configure(state, phase)
            case Configured() as phase:
                return self._train(state, phase)
            case Trained(is_secure=True) as phase:
                return self._advertise(state, phase)
            case Trained() as phase:
                return self._report(state, phase)
            case Advertised() as phase:
                return self._take_part(state, phase)

    def _check_in(self, state: AgentState) -> Outcome:
        self._spool.clear()
        if (wait_s := state.separation.remaining_s(self._environment.clock())) > 0:
            return Outcome(event=Event.WAITING, next_step_in_s=wait_s, reason="minimum separation")
        num_messages = self._log.counts().messages
        if num_messages == 0:
            return Outcome(event=Event.NOTHING_TO_TRAIN, next_step_in_s=POLL_S)
        if state.enrolment != "enrolled":
            return self._enrol(state)
        message = CheckIn(device_id=state.device_id, runtime=runtime_name(), num_examples=num_messages)
        answer = self._client.check_in(self._enrolment.population, message)
        now = self._environment.clock()
        if isinstance(answer, ComeBack):
            pause_s = max(answer.reconnect_after_s, SHORTEST_PAUSE_S)
            self._save(state, pause=Timer(now, pause_s), failures=0)
            return Outcome(event=Event.TOLD_TO_WAIT, next_step_in_s=pause_s, reason=answer.reason)
        if answer.round_id == state.secure_round:
            raise MalformedAnswer("a device must be selected into a round once, got a second time")
        self._save(state, phase=Assigned(answer, Timer(now, answer.report_within_s)))
        return Outcome(event=Event.SELECTED)

    def _enrol(self, state: AgentState) -> Outcome:
        self._state_file.save(state)  # the device's id, before anybody else knows it
        public_key = self._signer(state.device_id).public_key
        message = Enrol(device_id=state.device_id, public_key=public_key, token=self._enrolment.token)
        self._client.enrol(self._enrolment.population, message)
        self._save(state, enrolment="enrolled")
        return Outcome(event=Event.ENROLLED)

    def _signer(self, device_id: str) -> RequestSigner:
        """The client's, which may know the service's time already, unless the device goes by another id by now."""
        signer = self._client.signer
        if signer is not None and signer.device_id == device_id:
            return signer
        return RequestSigner(self._key, device_id, self._environment.clock, self._enrolment.public_key)

    def _configure(self, state: AgentState, phase: Assigned) -> Outcome:
        manifest = self._files.open_manifest(phase.selected, state.newest_model_version)
        self._check_secrecy(self._files.load_plan(manifest).secure_aggregation)
        self._files.load(manifest)
        self._files.keep_only(manifest)
        version = manifest.model_version
        self._save(state, phase=Configured(phase.selected, phase.deadline), newest_model_version=version)
        return Outcome(event=Event.CONFIGURED, model_version=version)

    def _train(self, state: AgentState, phase: Configured) -> Outcome:
        manifest = self._files.open_manifest(phase.selected, state.newest_model_version)
        configuration = self._files.load(manifest)
        plan, is_secure = configuration.plan, configuration.plan.secure_aggregation is not None
        work = do_work(
            configuration,
            self._texts(plan.training.max_words),
            seed=int(phase.selected.assignment_id, 16),  # a killed process trains again, to the same update
            should_stop=self._should_stop,
        )
        clipped = clip_to_norm(work.vector, plan.privacy.l2_clip_norm)
        if is_secure:
            encoded = encode_lanes(clipped.update, plan, task_of(manifest, phase.selected.round_id))
        else:
            encoded = encode_update(clipped.update, plan.update_format)
        self._spool.put(phase.selected.assignment_id, encoded)
        separation_s = plan.privacy.minimum_separation_s
        self._save(state, phase=Trained(phase.selected, phase.deadline, separation_s, is_secure))
        numbers = work.numbers | {"was_clipped": float(clipped.was_clipped)}
        return Outcome(event=work.event, numbers=numbers, model_version=state.newest_model_version)

    def _report(self, state: AgentState, phase: Trained) -> Outcome:
        self._check_secrecy(None)
        self._check_log()
        update = self._spool.get(phase.selected.assignment_id)
        state = self._begin_separation(state, phase)
        return self._reported(state, phase.selected, self._client.report(phase.selected, update))

    def _advertise(self, state: AgentState, phase: Trained) -> Outcome:
        """Begins a session. That keys may be out is written down before they are: they are sent by one process only."""
        selected = phase.selected
        manifest = self._files.open_manifest(selected, state.newest_model_version)
        report = new_report(selected, manifest, self._files.load_plan(manifest), self._key)
        advertised = Advertised(selected, phase.deadline.prolonged(SESSION_GRACE_S), phase.minimum_separation_s)
        state = self._save(state, phase=advertised, secure_round=selected.round_id)
        self._memory.hold(report)
        return self._take_part(state, advertised)

    def _take_part(self, state: AgentState, phase: Advertised) -> Outcome:
        """Passes one stage of the session."""
        report = self._memory.recall(phase.selected)
        self._check_log()
        if (not_yet := report.hear(self._client, self._spool)) is not None:
            remaining_s = phase.deadline.remaining_s(self._environment.clock())
            wait_s = min(max(not_yet.retry_after_s, SHORTEST_PAUSE_S), remaining_s)
            return Outcome(event=Event.AWAITING_GROUP, next_step_in_s=wait_s)
        if report.is_input_next:
            state = self._begin_separation(state, phase)
        event, receipt = report.tell(self._client)
        if receipt is None:
            return Outcome(event=event, model_version=state.newest_model_version)
        return self._reported(state, phase.selected, receipt)

    def _begin_separation(self, state: AgentState, phase: Trained | Advertised) -> AgentState:
        """Before the upload: a report whose receipt is lost may well be counted."""
        return self._save(state, separation=Timer(self._environment.clock(), phase.minimum_separation_s))

    def _reported(self, state: AgentState, selected: Selected, receipt: Receipt) -> Outcome:
        pause_s = max(receipt.reconnect_after_s, SHORTEST_PAUSE_S)
        self._save(
            state,
            phase=Waiting(),
            pause=Timer(self._environment.clock(), pause_s),
            failures=0,
            rounds_reported=state.rounds_reported + 1,
        )
        self._spool.clear()
        self._memory.forget()
        self._files.forget_checkpoint(selected)
        return Outcome(event=Event.REPORTED, next_step_in_s=pause_s, model_version=state.newest_model_version)

    def _check_secrecy(self, secure: SecureAggregationParameters | None) -> None:
        if secure is not None:
            require_floor(secure)
        elif self._enrolment.require_secure_aggregation:
            raise PlainReports("this device's owner asks for secure aggregation, the round has none")

    def _check_log(self) -> None:
        if self._log.counts().messages == 0:
            raise NothingToTrain("the log was wiped after it was trained on")

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

    def _retry_later(self, reason: str) -> Outcome:
        """Keeps the phase and waits, twice as long after each failure, spread over half of that."""
        state = self._state_file.load()  # a step that failed half-way may have saved more than it was given
        first_s, most_s = FIRST_RETRY_S, LONGEST_RETRY_S
        if isinstance(state.phase, Advertised):
            first_s, most_s = FIRST_SESSION_RETRY_S, LONGEST_SESSION_RETRY_S
        longest_s = min(first_s * 2.0 ** min(state.failures, 16), most_s)
        pause_s = longest_s * (0.5 + 0.5 * self._environment.jitter())
        self._save(state, pause=Timer(self._environment.clock(), pause_s), failures=state.failures + 1)
        return Outcome(event=Event.UNAVAILABLE, next_step_in_s=pause_s, reason=reason)

    def _drop(self, state: AgentState, event: Event, reason: str = "", *, failed: bool = False) -> Outcome:
        """Gives up the assignment, if there is one; after a failure waits as `_retry_later` does."""
        self._spool.clear()
        self._memory.forget()
        if not isinstance(state.phase, Waiting):
            self._files.forget_checkpoint(state.phase.selected)
        dropped = self._save(self._state_file.load(), phase=Waiting())
        pause_s = dropped.pause.remaining_s(self._environment.clock())
        if failed:
            pause_s = self._retry_later(reason).next_step_in_s
        return Outcome(event=event, next_step_in_s=pause_s or POLL_S, reason=reason)

    def _save(self, state: AgentState, **changes: object) -> AgentState:
        changed = msgspec.structs.replace(state, **changes)
        self._state_file.save(changed)
        return changed
