"""The agent: a device's part in a round, one persisted transition at a time.

    waiting ──check in──► assigned ──download──► configured ──train──► trained ──report──► waiting
       ▲                      │                      │                    │
       └──────────────────────┴──── dropped: deadline, interruption, refusal by either side

`step` makes one transition and writes the state before it returns, so that a process may be killed anywhere: what was
not written is done again, with the same result, and the service counts a report once.
"""

import dataclasses
from contextlib import suppress
from dataclasses import dataclass

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device_runtime.agent_state import AgentState, Assigned, Configured, StateFile, Timer, Trained, Waiting
from device_runtime.client import MalformedAnswer, ServiceClient, ServiceRefused, ServiceUnavailable
from device_runtime.configuration import CHECKPOINT, RoundConfiguration, load_round
from device_runtime.environment import DeviceEnvironment
from device_runtime.file_cache import FileCache
from device_runtime.outcome import Event, Outcome
from device_runtime.runtime import InvalidModel, runtime_name
from device_runtime.spool import Spool
from device_runtime.storage import UnreadableData
from device_runtime.trainer import Interrupted, LocalUpdate, NothingToTrain, PlanDoesNotFit, train
from device_runtime.typing_log import TypingLog
from protocol.clipping import clip_to_norm, l2_norm
from protocol.errors import ProtocolError
from protocol.manifest import FileEntry, Manifest, decode_manifest, open_manifest
from protocol.messages import CheckIn, ComeBack, Selected
from protocol.update import encode_update
from tokenizer.vocabulary import InvalidVocabulary, Vocabulary

POLL_S = 60.0
"""How soon conditions, consent or an empty log are looked at again."""
SHORTEST_PAUSE_S = 1.0
"""A service that says 0 is not asked in a loop."""
FIRST_RETRY_S = 30.0
LONGEST_RETRY_S = 3600.0

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
        self._vocabulary = vocabulary
        self._state_file = StateFile(folder / "agent.json")
        self._cache = FileCache(folder / "cache")
        self._spool = Spool(folder)
        self._client = ServiceClient(enrolment.service_url, environment.http)

    def step(self) -> Outcome:
        """Makes at most one transition.

        Returns:
          What happened and when to call again. Whatever the service does wrong is an outcome, never an exception.

        Raises:
          DamagedState: the state file cannot be read.
          OSError: the data directory cannot be written.

        """
        before = self._client.bytes_up, self._client.bytes_down
        outcome = self._step()
        return dataclasses.replace(
            outcome, bytes_up=self._client.bytes_up - before[0], bytes_down=self._client.bytes_down - before[1]
        )

    def _step(self) -> Outcome:
        now = self._environment.clock()
        stored = self._state_file.load()
        state = stored.settled(now)
        if state != stored:
            self._state_file.save(state)
        if (pause_s := state.pause.remaining_s(now)) > 0:
            return Outcome(event=Event.WAITING, next_step_in_s=pause_s)
        if not isinstance(state.phase, Waiting) and state.phase.deadline.remaining_s(now) == 0:
            return self._drop(state, Event.EXPIRED)
        if not self._log.consent:
            return self._drop(state, Event.NO_CONSENT)
        if missing := self._environment.conditions.read().missing:
            return Outcome(event=Event.NOT_ELIGIBLE, next_step_in_s=POLL_S, reason=f"not {', not '.join(missing)}")
        return self._guarded_transition(state)

    def _guarded_transition(self, state: AgentState) -> Outcome:
        try:
            return self._transition(state)
        except ServiceUnavailable as error:
            return self._retry_later(state, str(error))
        except ServiceRefused as error:
            return self._drop(state, Event.REJECTED, str(error), failed=True)
        except Interrupted as error:
            return self._drop(state, Event.INTERRUPTED, str(error))
        except NothingToTrain as error:
            return self._drop(state, Event.NOTHING_TO_TRAIN, str(error))
        except _REFUSALS as error:
            return self._drop(state, Event.REFUSED, str(error), failed=True)

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
        manifest = self._open_manifest(state, phase.selected)
        self._load_round(manifest)
        self._cache.prune(manifest.files.values())
        self._save(state, phase=Configured(phase.selected, phase.deadline), newest_model_version=manifest.model_version)
        return Outcome(event=Event.CONFIGURED)

    def _train(self, state: AgentState, phase: Configured) -> Outcome:
        configuration = self._load_round(self._open_manifest(state, phase.selected))
        plan = configuration.plan
        local = train(
            plan,
            configuration.graph,
            configuration.checkpoint,
            [message.text for message in self._log.messages(plan.training.max_words)],
            configuration.vocabulary,
            seed=int(phase.selected.assignment_id, 16),  # a killed process trains again, to the same update
            should_stop=self._should_stop,
        )
        clipped = clip_to_norm(local.update, plan.privacy.l2_clip_norm)
        self._spool.put(phase.selected.assignment_id, encode_update(clipped.update))
        self._save(state, phase=Trained(phase.selected, phase.deadline, plan.privacy.minimum_separation_s))
        return Outcome(event=Event.TRAINED, numbers=_numbers(local, was_clipped=clipped.was_clipped))

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
        self._forget_checkpoint(selected)
        return Outcome(event=Event.REPORTED, next_step_in_s=pause_s)

    def _open_manifest(self, state: AgentState, selected: Selected) -> Manifest:
        return open_manifest(
            selected.manifest,
            self._enrolment.public_key,
            purpose="round",
            population=self._enrolment.population,
            minimum_version=state.newest_model_version,
        )

    def _load_round(self, manifest: Manifest) -> RoundConfiguration:
        return load_round(manifest, self._fetch, self._vocabulary)

    def _fetch(self, entry: FileEntry) -> bytes:
        content = self._cache.get(entry)
        if content is None:
            content = self._client.fetch_file(entry)
            self._cache.put(entry, content)
        return content

    def _forget_checkpoint(self, selected: Selected) -> None:
        """Once a round is over its checkpoint, by far its largest file, is of no use; the others serve the next too."""
        with suppress(ProtocolError):  # a manifest that was refused names nothing that we keep
            files = decode_manifest(selected.manifest.manifest).files
            self._cache.prune([entry for name, entry in files.items() if name != CHECKPOINT])

    def _should_stop(self) -> bool:
        return self._environment.should_abort() or not self._environment.conditions.read().eligible

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
            self._forget_checkpoint(state.phase.selected)
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
