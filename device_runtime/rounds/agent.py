"""The agent: a device's part in a round, one persisted transition at a time.

    waiting ──check in──► assigned ──download──► configured ──train──► trained ──report──► waiting
       ▲                      │                      │                    │ └─ advertised ─┘ │
       └──────────────────────┴──── dropped: deadline, interrupted training, refusal by either side

`step` makes one transition and writes the state before it returns, so that a process may be killed anywhere: what was
not written is done again, with the same result, and the service counts a report once. A transfer that a condition cut
short is such a transition: it is made again, until the deadline. Training that a condition cut short is dropped.
Where one is assigned, `taking_part` has the rest; `bookkeeping` writes down, and tells how rounds end.
Where the plan asks for secure aggregation a report takes several steps (`secure_report`), whose secrets are never
written: a process that ends among them drops the round.
Before its first check-in a device enrols its key (`enrolling` tells what follows where the service will not have it).
"""

import dataclasses
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
    StateFile,
    Timer,
    Trained,
    Waiting,
)
from device_runtime.rounds.bookkeeping import POLL_S, SHORTEST_PAUSE_S, Bookkeeping
from device_runtime.rounds.chosen_words import ChosenWords
from device_runtime.rounds.configuration import NoiseByService, PlainReports, WeakPromise, WordsNotAllowed
from device_runtime.rounds.enrolling import consequence_of
from device_runtime.rounds.outcome import Event, Outcome
from device_runtime.rounds.round_files import RoundFiles
from device_runtime.rounds.secure_report import SessionLost, SessionMemory
from device_runtime.rounds.spool import Spool
from device_runtime.rounds.taking_part import TakingPart
from device_runtime.rounds.terms import TermsFile, Wishes
from device_runtime.rounds.trainer import Interrupted, NothingToTrain, PlanDoesNotFit
from device_runtime.rounds.voter import Voter
from device_runtime.runtime import InvalidModel, runtime_name
from device_runtime.storage.files import UnreadableData
from device_runtime.suggestions.blocked import BlockList
from device_runtime.typing_log import TypingLog
from protocol.enrolment import Enrol
from protocol.errors import ProtocolError
from protocol.messages import CheckIn, ComeBack
from protocol.plan import PrivacyPromise
from tokenizer.vocabulary import InvalidVocabulary, Vocabulary

_REFUSALS = (
    MalformedAnswer,
    NoiseByService,
    ProtocolError,
    PlainReports,
    PlanDoesNotFit,
    InvalidModel,
    InvalidVocabulary,
    UnreadableData,
    WeakPromise,
    WordsNotAllowed,
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
      require_device_noise: the owner's wish: rounds whose noise the service would add, or nobody, are refused.
      weakest_promise: the owner's wish: rounds that promise less privacy, or none, are refused.
      discovers_words: the owner's wish: to vote for new words. Without it the device is in no such round.

    """

    service_url: str
    population: str
    public_key: Ed25519PublicKey
    token: str | None = field(default=None, repr=False)
    require_secure_aggregation: bool = False
    require_device_noise: bool = False
    weakest_promise: PrivacyPromise | None = None
    discovers_words: bool = False

    @property
    def wishes(self) -> Wishes:
        """What the owner asks for."""
        return Wishes(
            require_secure_aggregation=self.require_secure_aggregation,
            require_device_noise=self.require_device_noise,
            weakest_promise=self.weakest_promise,
            discovers_words=self.discovers_words,
        )


class Agent:
    """One device in one population. Not for use by two threads or processes at once."""

    def __init__(
        self,
        environment: DeviceEnvironment,
        enrolment: Enrolment,
        log: TypingLog,
        vocabulary: Vocabulary | None = None,
        memory: SessionMemory | None = None,
        *,
        blocked: BlockList | None = None,
    ):
        """Takes up the work where the state in the data directory says.

        Args:
          environment: the device.
          enrolment: service, population and key.
          log: what to train on.
          vocabulary: the installed one, used by rounds whose manifest names none or the same.
          memory: of the agent before, where one process makes several for one device.
          blocked: words that this device never votes for.

        Raises:
          InsecureAddress: the service's address would send updates unencrypted.
          UnusableKey: the spool's key, or the device's own, is readable by others.

        """
        folder = environment.data_directory / enrolment.population
        self._environment = environment
        self._enrolment = enrolment
        self._log = log
        self._folder = folder
        self._spool = Spool(folder)
        self._key = load_identity_key(folder)
        self._client = ServiceClient(enrolment.service_url, environment.http, self._must_stop)
        self._books = Bookkeeping(
            state_file=StateFile(folder / "agent.json"),
            spool=self._spool,
            memory=SessionMemory() if memory is None else memory,
            files=RoundFiles(folder / "cache", self._client, enrolment.population, enrolment.public_key, vocabulary),
            clock=environment.clock,
            jitter=environment.jitter,
        )
        self._chosen = ChosenWords(folder, environment.clock)
        self._round = TakingPart(
            environment=environment,
            log=log,
            client=self._client,
            books=self._books,
            terms=TermsFile(folder),
            must_stop=self._must_stop,
            require_secure_aggregation=enrolment.require_secure_aggregation,
            require_device_noise=enrolment.require_device_noise,
            weakest_promise=enrolment.weakest_promise,
            discovers_words=enrolment.discovers_words,
            voter=Voter(chosen=self._chosen, blocked=blocked or BlockList()),
        )

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
        self._chosen.forget_old()
        state = self._books.load(now)
        if (pause_s := state.pause.remaining_s(now)) > 0:
            return Outcome(event=Event.WAITING, next_step_in_s=pause_s)
        if not isinstance(state.phase, Waiting) and state.phase.deadline.remaining_s(now) == 0:
            return self._books.drop(state, Event.EXPIRED)
        if not self._log.consent:
            return self._books.drop(state, Event.NO_CONSENT)
        if reason := self._environment.conditions.read().explain():
            return Outcome(event=Event.NOT_ELIGIBLE, next_step_in_s=POLL_S, reason=reason)
        return self._guarded_transition(state)

    def _guarded_transition(self, state: AgentState) -> Outcome:
        try:
            return self._transition(state)
        except ServiceUnavailable as error:
            return self._books.retry_later(str(error))
        except (TransferStopped, Interrupted, SessionLost) as error:
            return self._interrupted(state, error)
        except ServiceRefused as error:
            return self._refused(state, error)
        except NothingToTrain as error:
            return self._books.drop(state, Event.NOTHING_TO_TRAIN, str(error), failed=True)
        except _REFUSALS as error:
            return self._books.drop(state, Event.REFUSED, str(error), failed=True)

    def _interrupted(self, state: AgentState, error: TransferStopped | Interrupted | SessionLost) -> Outcome:
        """Training that a condition ended is dropped, and a session whose process ended; everything else goes on where
        it was, until the deadline.
        """
        ended = isinstance(error, Interrupted) and not self._environment.is_ending()
        if ended or isinstance(error, SessionLost):
            return self._books.drop(state, Event.INTERRUPTED, str(error), failed=True)
        return Outcome(event=Event.INTERRUPTED, next_step_in_s=POLL_S, reason=str(error))

    def _refused(self, state: AgentState, error: ServiceRefused) -> Outcome:
        """Gives up the assignment, and mends the enrolment if that is what was refused."""
        follows = consequence_of(error, state, has_token=self._enrolment.token is not None)
        if "device_id" in follows.changes:
            self._key = new_identity_key(self._folder)
        self._books.amend(**follows.changes)
        outcome = self._books.drop(state, follows.event, follows.reason, failed=True)
        if follows.pause_s is None:
            return outcome
        self._books.amend(pause=Timer(self._environment.clock(), follows.pause_s))
        return dataclasses.replace(outcome, next_step_in_s=follows.pause_s)

    def _transition(self, state: AgentState) -> Outcome:
        self._client.signer = self._signer(state.device_id)
        match state.phase:
            case Waiting():
                return self._check_in(state)
            case Assigned() as phase:
                return self._round.configure(state, phase)
            case Configured() as phase:
                return self._round.train(state, phase)
            case Trained(is_secure=True) as phase:
                return self._round.advertise(state, phase, self._key)
            case Trained() as phase:
                return self._round.report(state, phase)
            case Advertised() as phase:
                return self._round.pass_stage(state, phase)

    def _check_in(self, state: AgentState) -> Outcome:
        self._spool.clear()
        if (wait_s := state.separation.remaining_s(self._environment.clock())) > 0:
            return Outcome(event=Event.WAITING, next_step_in_s=wait_s, reason="minimum separation")
        num_messages = self._log.counts().messages
        if num_messages == 0:
            return Outcome(event=Event.NOTHING_TO_TRAIN, next_step_in_s=POLL_S)
        if state.enrolment != "enrolled":
            return self._enrol(state)
        message = CheckIn(
            device_id=state.device_id,
            runtime=runtime_name(),
            num_examples=num_messages,
            discovers_words=self._enrolment.discovers_words or msgspec.UNSET,
        )
        answer = self._client.check_in(self._enrolment.population, message)
        now = self._environment.clock()
        if isinstance(answer, ComeBack):
            pause_s = max(answer.reconnect_after_s, SHORTEST_PAUSE_S)
            self._books.save(state, pause=Timer(now, pause_s), failures=0)
            return Outcome(event=Event.TOLD_TO_WAIT, next_step_in_s=pause_s, reason=answer.reason)
        if answer.round_id in state.advertised_rounds:
            raise MalformedAnswer("a device must be selected into a round once, got a second time")
        self._books.save(state, phase=Assigned(answer, Timer(now, answer.report_within_s)))
        return Outcome(event=Event.SELECTED)

    def _enrol(self, state: AgentState) -> Outcome:
        self._books.save(state)  # the device's id, before anybody else knows it
        public_key = self._signer(state.device_id).public_key
        message = Enrol(device_id=state.device_id, public_key=public_key, token=self._enrolment.token)
        self._client.enrol(self._enrolment.population, message)
        self._books.save(state, enrolment="enrolled")
        return Outcome(event=Event.ENROLLED)

    def _signer(self, device_id: str) -> RequestSigner:
        """The client's, which may know the service's time already, unless the device goes by another id by now."""
        signer = self._client.signer
        if signer is not None and signer.device_id == device_id:
            return signer
        return RequestSigner(self._key, device_id, self._environment.clock, self._enrolment.public_key)

    def _must_stop(self) -> bool:
        environment = self._environment
        return environment.is_ending() or not environment.conditions.read().eligible or not self._log.consent
