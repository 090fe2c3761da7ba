"""A cohort in memory: real devices, and a service that keeps nothing but what a database could hold."""

import random
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.lanes import lane_dtype
from protocol.secure_aggregation import server, unmasking
from protocol.secure_aggregation.client import Advertising
from protocol.secure_aggregation.errors import WeakParameters
from protocol.secure_aggregation.group import Group, GroupFailed
from protocol.secure_aggregation.membership import Terms
from protocol.secure_aggregation.messages import GroupParameters, KeyBundle, decode, encode
from protocol.secure_aggregation.signing import Task
from protocol.secure_aggregation.sizing import check_is_safe
from protocol.secure_aggregation.survivors import from_bitmap, to_bitmap

ADVERTISE, SHARE, MASK, CONFIRM, UNMASK = range(5)


def make_task(number=1):
    return Task(population="demo", round_id=f"{number:032x}", plan_sha256=bytes([7] * 32))


def make_terms(**changes):
    """Terms of tiny groups: nobody is corrupt, a quarter may drop out."""
    usual = {
        "task": make_task(),
        "value_bits": 12,
        "vector_length": 5,
        "min_members": 3,
        "adversary_fraction": 0.0,
        "dropout_fraction": 0.25,
        "sigma": 1,
        "mode": "semi_honest",
    }
    return Terms(**{**usual, **changes})


def least_threshold(terms, num_members, degree):
    """The smallest threshold that devices accept, or 2 where they accept none."""
    for threshold in range(2, degree + 1):
        with suppress(WeakParameters):
            check_is_safe(
                num_members,
                degree,
                threshold,
                adversary_fraction=terms.adversary_fraction,
                dropout_fraction=terms.dropout_fraction,
                sigma=terms.sigma,
                mode=terms.mode,
            )
            return threshold
    return 2


def degree_near(wanted, num_members):
    """The largest degree up to `wanted` that a ring of this size has."""
    return num_members - 1 if wanted >= num_members - 1 else wanted - wanted % 2


@lru_cache(maxsize=4)
def read_group(stored):
    return decode(stored, Group)


@dataclass
class Cohort:
    """Devices are numbered as they were made; the service knows them by their index in the roster.

    The threshold is raised to what the terms ask for. `to_device` and `to_service` hold every message by stage and
    device.
    """

    num_devices: int
    terms: Terms
    degree: int = 4
    threshold: int = 3
    seed: int = 0
    random_sources: list | None = None
    stage: int = ADVERTISE
    bundles: dict = field(default_factory=dict)
    sealed: dict = field(default_factory=dict)
    signatures: dict = field(default_factory=dict)
    shares: dict = field(default_factory=dict)
    sharers_bitmap: bytes = b""
    survivors_bitmap: bytes = b""
    stored_group: bytes = b""
    outcome: object = None
    to_device: dict = field(default_factory=dict)
    to_service: dict = field(default_factory=dict)

    def __post_init__(self):
        source = random.Random(self.seed)
        self.random_bytes = source.randbytes
        sources = self.random_sources or [random.Random(source.getrandbits(64)).randbytes for _ in self.numbers]
        self.identities = [Ed25519PrivateKey.from_private_bytes(random_bytes(32)) for random_bytes in sources]
        self.public = [identity.public_key().public_bytes_raw() for identity in self.identities]
        self.devices = [
            Advertising(self.terms, identity, random_bytes)
            for identity, random_bytes in zip(self.identities, sources, strict=True)
        ]
        bits, length = self.terms.value_bits, self.terms.vector_length
        self.values = [
            np.array([source.getrandbits(bits) for _ in range(length)], lane_dtype(bits)) for _ in self.numbers
        ]
        self.active = set(self.numbers)

    @property
    def numbers(self):
        return range(self.num_devices)

    @property
    def group(self):
        return read_group(self.stored_group)

    @property
    def sharers(self):
        return from_bitmap(self.sharers_bitmap, len(self.group.bundles))

    @property
    def survivors(self):
        return from_bitmap(self.survivors_bitmap, len(self.group.bundles))

    def index(self, device):
        return self.group.index_of(self.public[device])

    def device_at(self, index):
        return self.public.index(self.group.bundles[index].identity_key)

    def tell(self, device):
        """What the service tells a device at this stage."""
        if self.stage == ADVERTISE:
            return b""
        group, index = self.group, self.index(device)
        told = {
            SHARE: lambda: server.roster_for(group, index),
            MASK: lambda: server.delivery_for(group, self.sharers, self.sealed, index),
            CONFIRM: lambda: server.survivor_list(group, self.survivors),
            UNMASK: lambda: server.confirmations_for(group, self.signatures, index),
        }[self.stage]()
        self.to_device[self.stage, device] = told
        return told

    def answer(self, device, told):
        """What a device answers; it is at its next stage then."""
        at = self.devices[device]
        if self.stage == ADVERTISE:
            self.devices[device], answer = at.advertise()
        elif self.stage == SHARE:
            self.devices[device], answer = at.share(told)
        elif self.stage == MASK:
            self.devices[device], answer = at.mask(told, self.values[device])
        elif self.stage == CONFIRM:
            self.devices[device], answer = at.confirm(told)
        else:
            answer = at.unmask(told)
        self.to_service[self.stage, device] = answer
        return answer

    def receive(self, device, answer):
        """The service takes an answer in; two processes add masked inputs."""
        if self.stage == ADVERTISE:
            self.bundles[device] = server.accept_bundle(answer, self.terms.task, self.public[device])
            return
        group, index = self.group, self.index(device)
        if self.stage == SHARE:
            self.sealed[index] = server.accept_shares(group, index, answer)
        elif self.stage == MASK:
            server.add_masked(self.partials[device % 2], group, self.sharers, index, answer)
        elif self.stage == CONFIRM:
            self.signatures[index] = server.accept_confirmation(group, self.sharers, self.survivors, index, answer)
        else:
            self.shares[index] = unmasking.accept_unmasking(group, self.sharers, self.survivors, index, answer)

    def play(self, device):
        self.receive(device, self.answer(device, self.tell(device)))

    def close(self):
        """The stage's deadline: whoever the service heard of goes on. The outcome is set when the group has ended."""
        close = (self._form, self._route, self._add_up, self._go_on, self._unmask)[self.stage]
        result = close()
        if isinstance(result, GroupFailed) or self.stage == UNMASK:
            self.outcome = result
        self.stage += 1

    def run(self, absent=()):
        """All stages; `absent` holds (stage, device) of those that are not heard of from then on."""
        while self.outcome is None:
            self.active -= {device for stage, device in absent if stage == self.stage}
            for device in sorted(self.active):
                self.play(device)
            self.close()
        return self.outcome

    def true_sum(self):
        total = sum(self.values[self.device_at(index)].astype(np.int64) for index in self.survivors)
        return total % 2**self.terms.value_bits

    def _form(self):
        num_members = len(self.bundles)
        degree = degree_near(self.degree, num_members)
        if degree < 2:
            return GroupFailed("too few for a graph")
        parameters = GroupParameters(
            degree=degree,
            threshold=max(least_threshold(self.terms, num_members, degree), min(degree, self.threshold)),
            value_bits=self.terms.value_bits,
            vector_length=self.terms.vector_length,
        )
        least = self.terms.least_survivors(num_members)
        group = server.form_group(self.terms.task, parameters, least, self.bundles.values())
        if isinstance(group, GroupFailed):
            return group
        self.stored_group = encode(group)
        self.active = set(self.bundles)
        return None

    def _route(self):
        sharers = server.route_shares(self.group, self.sealed.keys())
        if isinstance(sharers, GroupFailed):
            return sharers
        self.sharers_bitmap = to_bitmap(sharers, len(self.group.bundles))
        self.active = {self.device_at(index) for index in sharers}
        self.partials = [server.begin_sum(self.group), server.begin_sum(self.group)]
        return None

    def _add_up(self):
        first, second = self.partials
        server.merge_sums(first, second)
        survivors = server.survivors_of(self.group, first.members)
        if isinstance(survivors, GroupFailed):
            return survivors
        self.survivors_bitmap = to_bitmap(survivors, len(self.group.bundles))
        self.active = {self.device_at(index) for index in survivors}
        return None

    def _go_on(self):
        revealers = server.revealers_of(self.group, self.survivors, self.signatures.keys())
        if isinstance(revealers, GroupFailed):
            return revealers
        self.active = {self.device_at(index) for index in revealers}
        return None

    def _unmask(self):
        return unmasking.unmask(self.partials[0].lanes, self.group, self.sharers, self.survivors, self.shares)


def cohort_at(stage, num_devices=6, **settings):
    """A cohort that has come to this stage, where nobody has answered yet."""
    usual = {"terms": make_terms(), "degree": num_devices - 1, "threshold": 3}
    cohort = Cohort(num_devices, **{**usual, **settings})
    while cohort.stage < stage:
        for device in sorted(cohort.active):
            cohort.play(device)
        cohort.close()
    return cohort


def changed(message, message_type, **changes):
    """An encoded message with other fields."""
    return encode(msgspec.structs.replace(decode(message, message_type), **changes))


def roster_of(cohort, bundles, parameters=None):
    """What device 0 is told if the group is made of these bundles, whatever their worth."""
    parameters = parameters or cohort.group.parameters
    members = tuple(sorted(bundles, key=KeyBundle.digest))
    group = Group(task=cohort.terms.task, parameters=parameters, least_survivors=3, bundles=members)
    return server.roster_for(group, members.index(cohort.bundles[0]))
