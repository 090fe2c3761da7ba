"""A device's side of one session, in a process of its own that counts its CPU time and memory."""

import contextlib
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from evaluation.bench.runner import Spread, spread
from evaluation.bench.secure_session import ROTATION_SEED, Setting, draw_secrets
from evaluation.bench.worker import memory_bytes, worker
from protocol.secure_aggregation import server
from protocol.secure_aggregation.client import Advertising
from protocol.secure_aggregation.keys import Purpose, agree
from protocol.secure_aggregation.member_secrets import MemberSecrets
from protocol.secure_aggregation.messages import DeliveredShares, KeyBundle, decode, encode
from protocol.secure_aggregation.shamir import SHARE_BYTES
from protocol.secure_aggregation.shares import NeighbourShares, seal
from protocol.secure_aggregation.signing import sign_survivors
from protocol.secure_aggregation.survivors import to_bitmap


class ClientCost(msgspec.Struct, frozen=True, kw_only=True):
    """What a session costs a device.

    Attributes:
      first_cpu_s: CPU seconds of one core, from its update to its last message, in a process that never had one.
      cpu_s: the same for later sessions.
      peak_bytes: memory at most, over what the process has with its update and without a session.

    """

    first_cpu_s: float
    cpu_s: Spread
    peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class Told:
    """All that the service tells one device, the same in each repetition since the device draws the same secrets.

    Attributes:
      identity: the device's enrolled private key.
      seed: of its randomness.
      roster, delivery, survivor_list, confirmations: the service's messages.

    """

    identity: bytes
    seed: int
    roster: bytes
    delivery: bytes
    survivor_list: bytes
    confirmations: bytes

    def advertising(self, setting: Setting) -> Advertising:
        """The device at its first stage."""
        source = random.Random(self.seed).randbytes  # noqa: S311  # repeatable, and guards nothing
        return Advertising(setting.terms, Ed25519PrivateKey.from_private_bytes(self.identity), source)


def measure_client(setting: Setting, *, repeats: int, on_turn: Callable[[], None] = lambda: None) -> ClientCost:
    """Runs one device's side `repeats` times, after a first one that also tells its memory.

    Args:
      setting: of the session.
      repeats: at least 2.
      on_turn: called after every run, for a progress bar.

    Raises:
      ProtocolError: the device refused what it was told.
      NoSession: see there.

    """
    told = prepare(setting)
    sessions: list[tuple[float, int]] = []
    with worker(_serve, setting, told) as connection:
        for _ in range(repeats + 1):
            connection.send(None)
            sessions.append(connection.recv())
            on_turn()
    (first_cpu_s, peak_bytes), *later = sessions
    return ClientCost(first_cpu_s=first_cpu_s, cpu_s=spread([cpu_s for cpu_s, _ in later]), peak_bytes=peak_bytes)


def prepare(setting: Setting) -> Told:
    """Makes a group, and what its other members and the service send to one of them."""
    blank = Told(
        identity=secrets.token_bytes(32),
        seed=setting.seed,
        roster=b"",
        delivery=b"",
        survivor_list=b"",
        confirmations=b"",
    )
    _, advertised = blank.advertising(setting).advertise()
    own = decode(advertised, KeyBundle)
    drawn = [draw_secrets() for _ in range(setting.num_members - 1)]
    others = {each.identity.public_key().public_bytes_raw(): each for each in drawn}
    group = setting.form_group([own, *(each.bundle(setting.task) for each in others.values())])
    index = group.bundles.index(own)
    survivors = frozenset(range(setting.num_members)) - (setting.dropped() - {index})
    told = to_bitmap(range(setting.num_members), setting.num_members), to_bitmap(survivors, setting.num_members)
    neighbours = {number: others[group.bundles[number].identity_key] for number in group.neighbours[index]}
    sealed = (_sealed(each, own, group.session_id, number, index) for number, each in neighbours.items())
    signatures = {
        number: sign_survivors(each.identity, group.session_id, *told)
        for number, each in neighbours.items()
        if number in survivors
    }
    return replace(
        blank,
        roster=server.roster_for(group, index),
        delivery=encode(DeliveredShares(session_id=group.session_id, sharers=told[0], sealed=b"".join(sealed))),
        survivor_list=server.survivor_list(group, survivors),
        confirmations=server.confirmations_for(group, signatures, index),
    )


def _sealed(sender: MemberSecrets, receiver: KeyBundle, session_id: bytes, sender_index: int, index: int) -> bytes:
    """Shares for the device, which cannot know that they are of no secret."""
    shares = NeighbourShares(*(b"\0" + secrets.token_bytes(SHARE_BYTES - 1) for _ in range(2)))
    key = agree(sender.encryption, receiver.encryption_key, Purpose.SEALING, session_id)
    return seal(
        shares, key, session_id=session_id, sender=sender_index, receiver=index, random_bytes=secrets.token_bytes
    )


def _serve(connection: Connection, setting: Setting, told: Told) -> None:
    """The process: one run for each message."""
    update = setting.update()
    idle_bytes = memory_bytes("VmRSS")

    def run() -> None:
        values = setting.quantiser.encode(update, ROTATION_SEED, secrets.token_bytes)
        sharing, _ = told.advertising(setting).advertise()
        masking, _ = sharing.share(told.roster)
        confirming, _ = masking.mask(told.delivery, values)
        unmasking, _ = confirming.confirm(told.survivor_list)
        unmasking.unmask(told.confirmations)

    with contextlib.suppress(EOFError):
        while True:
            connection.recv()
            started = time.process_time()
            run()
            connection.send((time.process_time() - started, memory_bytes("VmHWM") - idle_bytes))
