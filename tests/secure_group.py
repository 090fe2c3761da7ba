"""A group of secure aggregation around one device under test: the others and the service's side run in memory."""

import secrets

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Response

from protocol.lanes import lane_dtype
from protocol.messages import Problem, Receipt, encode_message
from protocol.secure_aggregation import server, unmasking
from protocol.secure_aggregation.client import Advertising
from protocol.secure_aggregation.inputs import SECURE_MEDIA_TYPE, terms_of
from protocol.secure_aggregation.messages import GroupParameters
from protocol.secure_aggregation.sizing import size_group

STAGES = [("roster", "shares"), ("delivery", "masked-input"), ("survivors", "confirmation")]
STAGES += [("confirmations", "unmasking")]


class Member:
    """One of the others: the real client's side, with an input that is known here."""

    def __init__(self, terms):
        identity = Ed25519PrivateKey.generate()
        self.public = identity.public_key().public_bytes_raw()
        self.at, self.keys = Advertising(terms, identity, secrets.token_bytes).advertise()
        bits = terms.value_bits
        self.values = np.frombuffer(secrets.token_bytes(4 * terms.vector_length), np.uint32) % 2**bits
        self.values = self.values.astype(lane_dtype(bits))

    def answer(self, name, told):
        """The next message, by the name of the one that it answers."""
        if name == "confirmations":
            return self.at.unmask(told)
        method = {"roster": "share", "delivery": "mask", "survivors": "confirm"}[name]
        self.at, message = getattr(self.at, method)(told, *([self.values] if method == "mask" else []))
        return message


class Group:
    """The service's side. Change `tell` to make it lie; `lost` answers are dropped after they were acted on.

    Attributes:
      answers: what the device under test sent, by name, each time.
      waits: how often each GET is answered by 202 before it is answered.
      lost: names of messages of which the first acknowledgement is lost.
      retry_after: what an acknowledgement says of the time to ask at, in a header; None to say nothing.
      ended: from the time that this is asked for, the group has ended.
      total: the unmasked sum in the end.

    """

    def __init__(self, plan, task, device_key, *, num_others=7, waits=0):
        secure = plan.secure_aggregation
        terms = terms_of(plan, task)
        size = size_group(
            num_others + 1,
            adversary_fraction=secure.adversary_fraction,
            dropout_fraction=secure.dropout_fraction,
            mode=secure.mode,
        )
        self.parameters = GroupParameters(
            degree=size.degree,
            threshold=size.threshold,
            value_bits=secure.value_bits,
            vector_length=plan.update_size,
        )
        self.task, self.terms = task, terms
        self.device_key = device_key.public_key().public_bytes_raw()
        self.others = {member.public: member for member in (Member(terms) for _ in range(num_others))}
        self.waits, self.asked = waits, {}
        self.answers, self.lost, self.ended = {}, set(), None
        self.retry_after = None
        self.sealed, self.signatures, self.shares = {}, {}, {}
        self.group, self.total = None, None

    def handle(self, method, name, body, assignment_id):
        """The answer to one request."""
        if name == self.ended:
            problem = Problem(type="urn:keychorus:problem:group_ended", title="over", status=410, detail="")
            return Response(encode_message(problem), 410, content_type="application/problem+json")
        return self.asked_for(name) if method == "GET" else self.told(name, body, assignment_id)

    def asked_for(self, name):
        """What the group is told at a stage, or: not yet."""
        self.asked[name] = self.asked.get(name, 0) + 1
        if self.asked[name] <= self.waits:
            return Response("", 202, {"Retry-After": "3"})
        return Response(self.tell(name, self.index), content_type=SECURE_MEDIA_TYPE)

    def told(self, name, body, assignment_id):
        """Takes the device's message in, once, and lets the others answer too."""
        self.answers.setdefault(name, []).append(body)
        if len(set(self.answers[name])) > 1:
            return Response("", 409)
        if len(self.answers[name]) == 1:
            self.accept(name, self.device_key, body)
            self.move_on(name)
        if name in self.lost:
            self.lost.discard(name)
            return Response("", 503)
        if name != "unmasking":
            return Response("", 204, {} if self.retry_after is None else {"Retry-After": self.retry_after})
        receipt = Receipt(assignment_id=assignment_id, reconnect_after_s=100.0)
        return Response(encode_message(receipt), content_type="application/json")

    @property
    def index(self):
        return self.group.index_of(self.device_key)

    def tell(self, name, index):
        """What one member is told."""
        group = self.group
        return {
            "roster": lambda: server.roster_for(group, index),
            "delivery": lambda: server.delivery_for(group, self.sharers, self.sealed, index),
            "survivors": lambda: server.survivor_list(group, self.survivors),
            "confirmations": lambda: server.confirmations_for(group, self.signatures, index),
        }[name]()

    def accept(self, name, key, message):
        """Takes a member's message in."""
        if name == "keys":
            bundles = [server.accept_bundle(member.keys, self.task, key) for key, member in self.others.items()]
            bundles.append(server.accept_bundle(message, self.task, key))
            least = self.terms.least_survivors(len(bundles))
            self.group = server.form_group(self.task, self.parameters, least, bundles)
            self.partial = server.begin_sum(self.group)
            return
        group, index = self.group, self.group.index_of(key)
        if name == "shares":
            self.sealed[index] = server.accept_shares(group, index, message)
        elif name == "masked-input":
            server.add_masked(self.partial, group, self.sharers, index, message)
        elif name == "confirmation":
            self.signatures[index] = server.accept_confirmation(group, self.sharers, self.survivors, index, message)
        else:
            self.shares[index] = unmasking.accept_unmasking(group, self.sharers, self.survivors, index, message)

    def move_on(self, name):
        """The others answer what the device has answered, and the stage is over."""
        for told, answer in STAGES:
            if answer == name:
                for key, member in self.others.items():
                    self.accept(name, key, member.answer(told, self.tell(told, self.group.index_of(key))))
        if name == "shares":
            self.sharers = server.route_shares(self.group, self.sealed)
        elif name == "masked-input":
            self.survivors = server.survivors_of(self.group, self.partial.members)
        elif name == "unmasking":
            total = self.partial.lanes
            self.total = unmasking.unmask(total, self.group, self.sharers, self.survivors, self.shares)

    def input_of_device(self):
        """The sum without what the others put into it, modulo 2^value_bits."""
        others = sum(member.values.astype(np.int64) for member in self.others.values())
        difference = (self.total.astype(np.int64) - others) % 2**self.parameters.value_bits
        return difference.astype(self.total.dtype)
