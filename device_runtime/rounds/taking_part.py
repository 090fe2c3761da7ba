"""What a device does in a round that it was selected into, from the round's files to the service's receipt."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device_runtime.environment import DeviceEnvironment
from device_runtime.network.client import ServiceClient, ServiceRefused
from device_runtime.rounds.agent_state import Advertised, AgentState, Assigned, Configured, Trained
from device_runtime.rounds.bookkeeping import FIRST_RETRY_S, SHORTEST_PAUSE_S, Bookkeeping
from device_runtime.rounds.configuration import (
    DiscoveryConfiguration,
    NoiseByService,
    PlainReports,
    RoundConfiguration,
    WordsNotAllowed,
    check_promise,
)
from device_runtime.rounds.outcome import Event, Outcome
from device_runtime.rounds.secure_report import encode_lanes, new_report, task_of
from device_runtime.rounds.terms import TermsFile
from device_runtime.rounds.trainer import Interrupted, NothingToTrain
from device_runtime.rounds.voter import Voter
from device_runtime.rounds.work import Work, do_work
from device_runtime.typing_log import TypingLog
from protocol.clipping import Clipped, clip_to_norm
from protocol.manifest import Manifest
from protocol.messages import Receipt, Selected
from protocol.plan import Plan, PrivacyPromise
from protocol.secure_aggregation.inputs import require_floor
from protocol.update import encode_update

SESSION_GRACE_S = 300.0
"""A session that is under way at the round's deadline still counts; longer than this it never takes."""

_TEXT_POLL_S = 0.2


@dataclass(frozen=True, kw_only=True)
class TakingPart:
    """One method a phase; each makes one transition, writes it down and says what was done.

    All may raise what the client, the files and the trainer raise; the phase is then as it was.

    Attributes:
      environment: the device.
      log: what to train on.
      client: signs as this device.
      books: where every transition is written down, and what it left for the next one.
      terms: where what a plan offers is written down, for the owner to see.
      must_stop: polled between two steps: a condition or consent ended, or the process is to end.
      require_secure_aggregation: whether rounds whose reports the service would see are refused.
      require_device_noise: whether rounds whose noise the service would add are refused.
      weakest_promise: rounds that promise less privacy are refused; None for none.
      discovers_words: whether discoveries of new words are taken part in.
      voter: casts the votes of those.

    """

    environment: DeviceEnvironment
    log: TypingLog
    client: ServiceClient
    books: Bookkeeping
    terms: TermsFile
    must_stop: Callable[[], bool]
    require_secure_aggregation: bool
    require_device_noise: bool
    weakest_promise: PrivacyPromise | None
    discovers_words: bool
    voter: Voter

    def configure(self, state: AgentState, phase: Assigned) -> Outcome:
        """Downloads and verifies the round's files."""
        files = self.books.files
        manifest = files.open_manifest(phase.selected, state.newest_model_version)
        plan = files.load_plan(manifest)
        with self.terms.noting(plan):
            self._check_plan(plan)
        files.load(manifest)
        files.keep_only(manifest)
        version = manifest.model_version
        self.books.save(state, phase=Configured(phase.selected, phase.deadline), newest_model_version=version)
        return Outcome(event=Event.CONFIGURED, numbers=_promised(plan), model_version=version)

    def train(self, state: AgentState, phase: Configured) -> Outcome:
        """Computes what the plan says, and leaves it in the spool, clipped."""
        manifest = self.books.files.open_manifest(phase.selected, state.newest_model_version)
        configuration = self.books.files.load(manifest)
        plan, is_secure = configuration.plan, configuration.plan.secure_aggregation is not None
        work = self._work(configuration, seed=int(phase.selected.assignment_id, 16))
        clipped = _clipped(work, plan)
        vector = plan.privacy.report(clipped)
        if is_secure:
            encoded = encode_lanes(vector, plan, task_of(manifest, phase.selected.round_id))
        else:
            encoded = encode_update(vector, plan.update_format)
        self.books.spool.put(phase.selected.assignment_id, encoded)
        separation_s = plan.privacy.minimum_separation_s
        self.books.save(state, phase=Trained(phase.selected, phase.deadline, separation_s, is_secure))
        if plan.ballot is not None:
            self.voter.finish(plan.ballot)
        numbers = work.numbers | {"was_clipped": float(clipped.was_clipped)}
        return Outcome(event=work.event, numbers=numbers, model_version=state.newest_model_version)

    def report(self, state: AgentState, phase: Trained) -> Outcome:
        """Uploads what is in the spool, for the service to see."""
        self._accepted_plan(state, phase)  # the owner may ask for more than when this was trained
        self._check_log()
        update = self.books.spool.get(phase.selected.assignment_id)
        state = self.books.begin_separation(state, phase)
        return self.books.reported(state, phase.selected, self._receipt(phase.selected, update))

    def advertise(self, state: AgentState, phase: Trained, identity: Ed25519PrivateKey) -> Outcome:
        """Begins a session. That keys may be out is written down before they are: they are sent by one process only."""
        selected = phase.selected
        manifest, plan = self._accepted_plan(state, phase)
        report = new_report(selected, manifest, plan, identity)
        advertised = Advertised(selected, phase.deadline.prolonged(SESSION_GRACE_S), phase.minimum_separation_s)
        rounds = state.rounds_with(selected.round_id)
        state = self.books.save(state, phase=advertised, advertised_rounds=rounds)
        self.books.memory.hold(report)
        return self.pass_stage(state, advertised)

    def pass_stage(self, state: AgentState, phase: Advertised) -> Outcome:
        """Passes one stage of the session."""
        report = self.books.memory.recall(phase.selected)
        self._check_log()
        if (not_yet := report.hear(self.client, self.books.spool)) is not None:
            wait_s = self._within(phase, max(not_yet.retry_after_s, SHORTEST_PAUSE_S))
            return Outcome(event=Event.AWAITING_GROUP, next_step_in_s=wait_s)
        if report.is_input_next:
            state = self.books.begin_separation(state, phase)
        told = report.tell(self.client)
        if told.receipt is not None:
            return self.books.reported(state, phase.selected, told.receipt)
        wait_s = self._within(phase, told.retry_after_s)
        return Outcome(event=told.event, next_step_in_s=wait_s, model_version=state.newest_model_version)

    def _receipt(self, selected: Selected, update: bytes) -> Receipt:
        """Uploads. Where the report was counted before and its receipt was lost, the refusal is as good as one."""
        try:
            return self.client.report(selected, update)
        except ServiceRefused as error:
            if error.kind != "duplicate_report":
                raise
            return Receipt(assignment_id=selected.assignment_id, reconnect_after_s=FIRST_RETRY_S)

    def _work(self, configuration: RoundConfiguration | DiscoveryConfiguration, seed: int) -> Work:
        """A killed process does it again, to the same result."""
        texts = self._texts(configuration.plan.training.max_words)
        if isinstance(configuration, DiscoveryConfiguration):
            return self.voter.vote(configuration, texts)
        return do_work(
            configuration, texts, seed=seed, should_stop=lambda: self.environment.should_abort() or self.must_stop()
        )

    def _within(self, phase: Advertised, wait_s: float) -> float:
        """No wait is longer than the session may last."""
        return min(wait_s, phase.deadline.remaining_s(self.environment.clock()))

    def _accepted_plan(self, state: AgentState, phase: Trained) -> tuple[Manifest, Plan]:
        files = self.books.files
        manifest = files.open_manifest(phase.selected, state.newest_model_version)
        plan = files.load_plan(manifest)
        with self.terms.noting(plan):
            self._check_plan(plan)
        return manifest, plan

    def _check_plan(self, plan: Plan) -> None:
        """Refuses what the owner does not accept."""
        check_promise(plan, self.weakest_promise)
        if plan.ballot is not None and not self.discovers_words:
            raise WordsNotAllowed("this device's owner did not allow discoveries of new words, the round is one")
        if plan.secure_aggregation is not None:
            require_floor(plan.secure_aggregation)
        elif self.require_secure_aggregation:
            raise PlainReports("this device's owner asks for secure aggregation, the round has none")
        if self.require_device_noise and plan.shared_noise is None:
            raise NoiseByService("this device's owner asks for noise by devices, the round leaves it to the service")

    def _check_log(self) -> None:
        if self.log.counts().messages == 0:
            raise NothingToTrain("the log was wiped after it was trained on")

    def _texts(self, max_words: int) -> Iterator[str]:
        """The newest messages; whoever encodes them is interrupted between two, as between two training steps."""
        polled_at = time.monotonic()
        for message in self.log.messages(max_words):
            if time.monotonic() - polled_at > _TEXT_POLL_S:
                if self.must_stop():
                    raise Interrupted("training was stopped before its first step")
                polled_at = time.monotonic()
            yield message.text


def _clipped(work: Work, plan: Plan) -> Clipped:
    """Votes are within their norm as they are, and must stay ones."""
    if plan.ballot is not None:
        return Clipped(work.vector, was_clipped=False)
    return clip_to_norm(work.vector, plan.privacy.l2_clip_norm)


def _promised(plan: Plan) -> dict[str, float]:
    promise = plan.privacy.promise
    return {} if promise is None else {"promised_epsilon": promise.max_epsilon, "promised_delta": promise.delta}
