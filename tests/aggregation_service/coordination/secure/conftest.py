"""Devices that take part in secure aggregation over HTTP: the protocol's own client, and nothing else."""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from werkzeug.test import TestResponse

from protocol import routes
from protocol.arrays import FloatArray
from protocol.manifest import decode_manifest
from protocol.messages import Selected
from protocol.plan import Plan, SecureAggregationParameters
from protocol.secure_aggregation.client import Advertising
from protocol.secure_aggregation.inputs import SECURE_MEDIA_TYPE, encode_input, terms_of
from protocol.secure_aggregation.signing import Task

PUTS = ("keys", "shares", "masked-input", "confirmation", "unmasking")
GETS = ("", "roster", "delivery", "survivors", "confirmations")


@dataclass(repr=False)
class SecureDevice:
    """One device's way through a session; `at` is the number of the message that it sends next."""

    rehearsal: Any
    plan: Plan
    selected: Selected
    update: FloatArray
    at: int = 0
    sent: list[bytes] = field(default_factory=list)
    stage: Any = None
    random_bytes: Callable[[int], bytes] = secrets.token_bytes  # of rounding and noise

    def __post_init__(self) -> None:
        manifest = decode_manifest(self.selected.manifest.manifest)
        plan_sha256 = bytes.fromhex(manifest.files["plan"].sha256)
        self.task = Task(population="en-gb", round_id=self.selected.round_id, plan_sha256=plan_sha256)
        self.device_id = self.rehearsal.devices[self.selected.assignment_id]
        identity = self.rehearsal.key(self.device_id)
        self.stage = Advertising(terms_of(self.plan, self.task), identity, secrets.token_bytes)

    def request(self, method: str, name: str, body: bytes = b"", **headers: str) -> TestResponse:
        path = routes.secure_aggregation(self.selected.round_id, self.selected.assignment_id, name)
        sent = {
            "Authorization": f"Bearer {self.selected.assignment_token}",
            **self.rehearsal.sign(self.device_id, method, path, body),
            **({"Content-Type": SECURE_MEDIA_TYPE} if method == "PUT" else {}),
            **headers,
        }
        length = {"CONTENT_LENGTH": str(len(body))} if method == "PUT" else {}
        response: TestResponse = self.rehearsal.request(method, path, data=body, headers=sent, environ_overrides=length)
        return response

    def get(self, name: str | None = None) -> TestResponse:
        return self.request("GET", name or GETS[self.at])

    def put(self, body: bytes, name: str | None = None) -> TestResponse:
        return self.request("PUT", name or PUTS[self.at], body)

    def message(self, told: bytes) -> bytes:
        """What the client makes of what it is told."""
        message: bytes
        if self.at == 0:
            self.stage, message = self.stage.advertise()
        elif self.at == 1:
            self.stage, message = self.stage.share(told)
        elif self.at == 2:
            lanes = encode_input(self.update, self.plan, self.task, self.random_bytes)
            self.stage, message = self.stage.mask(told, lanes)
        elif self.at == 3:
            self.stage, message = self.stage.confirm(told)
        else:
            message = self.stage.unmask(told)
        return message

    def step(self) -> TestResponse:
        """Asks, and if it is told, answers: the last response."""
        told = b""
        if self.at:
            response = self.get()
            if response.status_code != 200:
                return response
            told = response.data
        message = self.message(told)
        response = self.put(message)
        assert response.status_code == (200 if self.at == 4 else 204), (self.at, response.json)
        self.sent.append(message)
        self.at += 1
        return response

    @property
    def is_done(self) -> bool:
        return self.at == len(PUTS)


def walk(devices: Iterable[SecureDevice], until: int = len(PUTS)) -> None:
    """Each steps in turn until all have sent so many messages."""
    left = list(devices)
    for _ in range(100):
        left = [device for device in left if device.at < until]
        if not left:
            return
        for device in left:
            response = device.step()
            assert response.status_code in {200, 202, 204}, response.json
    raise AssertionError(f"at {[device.at for device in left]}")


def secure_parameters(**changes: Any) -> SecureAggregationParameters:
    """Of tiny groups, of whom nobody is corrupt and a quarter may drop out."""
    usual: dict[str, Any] = {
        "value_bits": 16,
        "min_members": 3,
        "max_members": 4,
        "adversary_fraction": 0.0,
        "dropout_fraction": 0.25,
        "mode": "semi_honest",
    }
    return SecureAggregationParameters(**{**usual, **changes})


@dataclass(repr=False)
class Cohort:
    """Makes a task whose plan wants secure aggregation, and devices selected for its round."""

    rehearsal: Any
    plans: Callable[..., Plan]
    plan: Plan | None = None

    def begin(
        self, num_devices: int, *, goal: int | None = None, secure: dict[str, Any] | None = None, **fields: Any
    ) -> list[SecureDevice]:
        parameters = {name: fields.pop(name) for name in ("noise", "clip", "noise_by") if name in fields}
        plan = self.plans(goal=goal or num_devices, secure_aggregation=secure_parameters(**secure or {}), **parameters)
        self.plan = plan
        self.initial = self.rehearsal.create_task(plan, **{"over_selection": 1.0, **fields})
        return [self.join() for _ in range(num_devices)]

    def join(self) -> SecureDevice:
        assert self.plan is not None
        return SecureDevice(self.rehearsal, self.plan, self.rehearsal.select(), self.rehearsal.update())


@pytest.fixture
def cohort(rehearsal: Any, plans: Any) -> Cohort:
    return Cohort(rehearsal, plans)


@pytest.fixture
def walked() -> Callable[..., None]:
    return walk
