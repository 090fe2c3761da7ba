"""The service's side of one session, in a process of its own that counts its CPU time and memory."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import msgspec
import numpy as np

from evaluation.bench.secure_session import ROTATION_SEED, Members, NoSession, Setting
from evaluation.bench.worker import memory_bytes, worker
from protocol.lanes import lane_dtype
from protocol.secure_aggregation import server, unmasking
from protocol.secure_aggregation.group import GroupFailed
from protocol.secure_aggregation.messages import KeyBundle, decode, encode


class WrongSum(Exception):
    """The service's sum is not that of the members' inputs."""


class ServiceCost(msgspec.Struct, frozen=True, kw_only=True):
    """What a session cost the service.

    Attributes:
      cpu_s: CPU seconds of one core, all stages.
      cpu_s_by_stage: the same by what they were spent on.
      peak_bytes: memory at most, over what the process has without a session.
      bytes_up: that a survivor sent, on average, its masked input included.
      bytes_down: that a survivor was told, on average.

    """

    cpu_s: float
    cpu_s_by_stage: dict[str, float]
    peak_bytes: int
    bytes_up: float
    bytes_down: float


def num_turns(setting: Setting) -> int:
    """How often `measure_service` calls `on_turn`: once a member and message."""
    return 4 * setting.num_members + 5 * (setting.num_members - setting.num_dropped)


def measure_service(setting: Setting, *, on_turn: Callable[[], None] = lambda: None) -> ServiceCost:
    """Runs one session.

    Args:
      setting: of the session.
      on_turn: called `num_turns(setting)` times, for a progress bar.

    Raises:
      WrongSum, NoSession: see there.

    """
    members = Members(setting)
    with _service(setting) as service:
        session = _Session(service, members, on_turn)
        session.run()
        total = np.frombuffer(service.ask("unmask"), lane_dtype(setting.value_bits))
        if not np.array_equal(total, members.true_sum()):
            raise WrongSum("the service's sum must be that of its survivors' inputs, it is another one")
        service.ask("decode_sum")
        by_stage, peak_bytes = service.cost()
    num_survivors = len(members.survivors)
    return ServiceCost(
        cpu_s=sum(by_stage.values()),
        cpu_s_by_stage=by_stage,
        peak_bytes=peak_bytes,
        bytes_up=session.bytes_up / num_survivors,
        bytes_down=session.bytes_down / num_survivors,
    )


class _Session:
    """Plays the members; counts bytes of those that stay to the end."""

    def __init__(self, service: "_Service", members: Members, on_turn: Callable[[], None]) -> None:
        self._service, self._members, self._on_turn = service, members, on_turn
        self.bytes_up = self.bytes_down = 0

    def run(self) -> None:
        """Stages 0 to 4, but for unmasking itself."""
        members, ask = self._members, self._service.ask
        for index in members.everyone:
            self._up("accept_bundle", index, encode(members.group.bundles[index]))
        ask("form_group")
        for index in members.everyone:
            self._down("roster_for", index)
        for index in members.everyone:
            self._up("accept_shares", index, members.encrypted_shares(index))
        ask("route_shares")
        for index in members.everyone:
            self._down("delivery_for", index)
        for index in sorted(members.survivors):
            self._up("add_masked", index, members.masked_input(index))
        ask("survivors_of")
        for index in sorted(members.survivors):
            self._down("survivor_list", index)
        for index in sorted(members.survivors):
            self._up("accept_confirmation", index, members.confirmation(index))
        ask("revealers_of")
        for index in sorted(members.survivors):
            self._down("confirmations_for", index)
        for index in sorted(members.survivors):
            self._up("accept_unmasking", index, members.unmasking_shares(index))

    def _up(self, stage: str, index: int, payload: bytes) -> None:
        self._service.ask(stage, index, payload=payload)
        self.bytes_up += len(payload) if index in self._members.survivors else 0
        self._on_turn()

    def _down(self, stage: str, index: int) -> None:
        told = self._service.ask(stage, index)
        self.bytes_down += len(told) if index in self._members.survivors else 0
        self._on_turn()


class _Service:
    """The process that is measured, from outside."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ask(self, stage: str, *indices: int, payload: bytes = b"") -> bytes:
        """Lets it do one piece of work.

        Raises:
          NoSession: it ended, with its own words on standard error.

        """
        try:
            self._connection.send((stage, indices))
            self._connection.send_bytes(payload)
            return self._connection.recv_bytes()
        except (OSError, EOFError):
            raise NoSession(f"the service must go on after {stage}, it ended") from None

    def cost(self) -> tuple[dict[str, float], int]:
        """CPU seconds by stage, and bytes of memory."""
        return msgspec.json.decode(self.ask("cost"), type=tuple[dict[str, float], int])


@contextmanager
def _service(setting: Setting) -> Iterator[_Service]:
    with worker(_serve, setting) as connection:
        yield _Service(connection)


def _serve(connection: Connection, setting: Setting) -> None:
    """The process: the clock runs only while it works, not while it reads or waits."""
    state = _State(setting)
    idle_bytes = memory_bytes("VmRSS")
    cpu_s: defaultdict[str, float] = defaultdict(float)
    with contextlib.suppress(EOFError):
        while True:
            stage, indices = connection.recv()
            payload = connection.recv_bytes()
            if stage == "cost":
                answer = msgspec.json.encode((cpu_s, memory_bytes("VmHWM") - idle_bytes))
            else:
                started = time.process_time()
                answer = getattr(state, stage)(*indices, *([payload] if payload else []))
                cpu_s[stage] += time.process_time() - started
            connection.send_bytes(answer)


class _State:
    """The service: what it keeps between two requests, here in memory, and what it does with each."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._bundles: list[KeyBundle] = []
        self._sealed: dict[int, bytes] = {}
        self._signatures: dict[int, bytes] = {}
        self._shares: dict[int, bytes] = {}
        self._sharers: frozenset[int] = frozenset()
        self._survivors: frozenset[int] = frozenset()

    def accept_bundle(self, _: int, payload: bytes) -> bytes:
        identity_key = decode(payload, KeyBundle).identity_key  # which a service knows from who signed the request
        self._bundles.append(server.accept_bundle(payload, self._setting.task, identity_key))
        return b""

    def form_group(self) -> bytes:
        self._group = self._setting.form_group(self._bundles)
        return self._group.session_id

    def roster_for(self, index: int) -> bytes:
        return server.roster_for(self._group, index)

    def accept_shares(self, index: int, payload: bytes) -> bytes:
        self._sealed[index] = server.accept_shares(self._group, index, payload)
        return b""

    def route_shares(self) -> bytes:
        self._sharers = _members(server.route_shares(self._group, self._sealed))
        self._partial = server.begin_sum(self._group)
        return b""

    def delivery_for(self, index: int) -> bytes:
        return server.delivery_for(self._group, self._sharers, self._sealed, index)

    def add_masked(self, index: int, payload: bytes) -> bytes:
        server.add_masked(self._partial, self._group, self._sharers, index, payload)
        return b""

    def survivors_of(self) -> bytes:
        self._survivors = _members(server.survivors_of(self._group, self._partial.members))
        return b""

    def survivor_list(self, _: int) -> bytes:
        return server.survivor_list(self._group, self._survivors)

    def accept_confirmation(self, index: int, payload: bytes) -> bytes:
        lists = (self._sharers, self._survivors)
        self._signatures[index] = server.accept_confirmation(self._group, *lists, index, payload)
        return b""

    def revealers_of(self) -> bytes:
        _members(server.revealers_of(self._group, self._survivors, self._signatures))
        return b""

    def confirmations_for(self, index: int) -> bytes:
        return server.confirmations_for(self._group, self._signatures, index)

    def accept_unmasking(self, index: int, payload: bytes) -> bytes:
        lists = (self._sharers, self._survivors)
        self._shares[index] = unmasking.accept_unmasking(self._group, *lists, index, payload)
        return b""

    def unmask(self) -> bytes:
        lists = (self._sharers, self._survivors)
        found = unmasking.unmask(self._partial.lanes, self._group, *lists, self._shares)
        if isinstance(found, GroupFailed):
            raise NoSession(found.reason)
        return found.tobytes()

    def decode_sum(self) -> bytes:
        self._setting.quantiser.decode_sum(self._partial.lanes, ROTATION_SEED)
        return b""


def _members(found: frozenset[int] | GroupFailed) -> frozenset[int]:
    if isinstance(found, GroupFailed):
        raise NoSession(found.reason)
    return found
