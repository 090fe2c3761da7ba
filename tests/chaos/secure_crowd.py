"""Devices that walk through sessions of secure aggregation, and send each message until they know what became of it."""

import secrets
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from chaos.crowd import GIVES_UP_AFTER_S, Crowd, Unreachable
from chaos.site import NUM_DEVICES, POPULATION, SPECS

from aggregation_service.rounds.parameters import RoundParameters
from protocol import routes
from protocol.manifest import decode_manifest
from protocol.messages import Problem, Selected, decode_message
from protocol.plan import Plan, PrivacyParameters, SecureAggregationParameters, TrainingParameters
from protocol.secure_aggregation.client import Advertising
from protocol.secure_aggregation.inputs import SECURE_MEDIA_TYPE, decode_sum, encode_input, terms_of
from protocol.secure_aggregation.signing import Task

SECURE = Plan(
    tensors=SPECS,
    training=TrainingParameters(batch_size=4, sequence_length=5, local_epochs=1, learning_rate=0.5, max_words=100),
    privacy=PrivacyParameters(l2_clip_norm=1.0, noise_multiplier=0.0, report_goal=6, minimum_separation_s=0.0),
    secure_aggregation=SecureAggregationParameters(
        value_bits=16,
        min_members=3,
        max_members=4,
        adversary_fraction=0.0,
        dropout_fraction=0.25,
        mode="semi_honest",
    ),
)
SECURE_ROUNDS = RoundParameters(
    minimum_reports=3,
    over_selection=NUM_DEVICES / 6,
    selection_timeout_s=1.0,
    report_deadline_s=2.0,
    gather_s=0.5,
    stage_timeout_s=2.0,
    poll_s=1,
)
VANISH = 0.02
"""Of all devices, how many are not heard of any more from some message on."""

_POLL_S = 0.05


class Ended(Exception):
    """The group, or the device's part in it, is over."""


class SecureCrowd(Crowd):
    """As `Crowd`: `sent` holds what each input stands for, `acknowledged` the inputs that the service said it has."""

    def _report(self, number: int, selected: Selected, generator: np.random.Generator) -> None:
        session = _Session(self, number, selected, generator)
        vanishes_at = int(generator.integers(5)) if generator.uniform() < VANISH else 5
        try:
            for step in session.steps[:vanishes_at]:
                step()
        except (Ended, Unreachable):
            pass

    def ask_until(self, number: int, method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        """Asks, after a break or a 202 again, until there is an answer."""
        deadline = time.monotonic() + GIVES_UP_AFTER_S
        while time.monotonic() < deadline:
            try:
                status, answer = self._ask(number, method, path, body, headers)
            except Unreachable:
                status, answer = 202, b""
            if status in {200, 204}:
                return answer
            if status != 202:
                kind = decode_message(answer, Problem).type.rpartition(":")[2]
                if kind != "group_ended":
                    self.unexpected.append(f"{method} {path.rpartition('/')[2]} was refused as {kind}")
                raise Ended
            time.sleep(_POLL_S)
        raise Unreachable

    def note_input(self, number: int, round_id: str, values: npt.NDArray[np.float64]) -> None:
        """Notes what an input stands for, before its first byte is sent."""
        self.sent[round_id, number] = values

    def note_acknowledged(self, number: int, round_id: str) -> None:
        """Notes that the service said that it has the input."""
        self.acknowledged.add((round_id, number))
        self._note(number, what="acknowledged")


class _Session:
    """One device's way through one group."""

    def __init__(self, crowd: SecureCrowd, number: int, selected: Selected, generator: np.random.Generator) -> None:
        self._crowd = crowd
        self._number = number
        self._selected = selected
        self._generator = generator
        self._plan = crowd.site.plan
        plan_sha256 = bytes.fromhex(decode_manifest(selected.manifest.manifest).files["plan"].sha256)
        self._task = Task(population=POPULATION, round_id=selected.round_id, plan_sha256=plan_sha256)
        self.steps: list[Callable[[], None]] = [
            self._advertise,
            self._share,
            self._mask,
            self._confirm,
            self._unmask,
        ]

    def _advertise(self) -> None:
        terms = terms_of(self._plan, self._task)
        self._sharing, keys = Advertising(terms, self._crowd.site.keys[self._number], secrets.token_bytes).advertise()
        self._put("keys", keys)

    def _share(self) -> None:
        self._masking, shares = self._sharing.share(self._get("roster"))
        self._put("shares", shares)

    def _mask(self) -> None:
        delivery = self._get("delivery")
        update = self._generator.normal(0, 0.1, SPECS[0].size).astype(np.float32)
        lanes = encode_input(update, self._plan, self._task, secrets.token_bytes)
        values = decode_sum(lanes, self._plan, self._task, 1)
        self._confirming, masked = self._masking.mask(delivery, lanes)
        self._crowd.note_input(self._number, self._selected.round_id, values)
        self._put("masked-input", masked)
        self._crowd.note_acknowledged(self._number, self._selected.round_id)

    def _confirm(self) -> None:
        self._unmasking, confirmation = self._confirming.confirm(self._get("survivors"))
        self._put("confirmation", confirmation)

    def _unmask(self) -> None:
        self._put("unmasking", self._unmasking.unmask(self._get("confirmations")))

    def _put(self, name: str, body: bytes) -> None:
        self._ask("PUT", name, body, {"Content-Type": SECURE_MEDIA_TYPE})

    def _get(self, name: str) -> bytes:
        return self._ask("GET", name, b"", {})

    def _ask(self, method: str, name: str, body: bytes, headers: dict[str, str]) -> bytes:
        path = routes.secure_aggregation(self._selected.round_id, self._selected.assignment_id, name)
        headers |= {"Authorization": f"Bearer {self._selected.assignment_token}"}
        return self._crowd.ask_until(self._number, method, path, body, headers)
