"""An example of each message, made of the real types, so that none can grow stale."""

import msgspec

from aggregation_service.audit import AuditEntry
from aggregation_service.policy import PopulationPolicy
from aggregation_service.resources.admin import (
    AuditPage,
    EndedTask,
    NewPopulation,
    Nothing,
    Populations,
    Tasks,
    TaskSummary,
)
from aggregation_service.rounds.state import Phase
from aggregation_service.summaries import PopulationSummary, RoundSummary
from protocol.enrolment import Enrol, Enrolled
from protocol.manifest import FileEntry, Manifest, SignedManifest
from protocol.messages import CheckIn, ComeBack, Problem, Receipt, Selected
from protocol.plan import PrivacyParameters

_DEVICE = "5f2b8c1e9d3a4f60b7c8d9e0f1a2b3c4"
_ROUND = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
_ASSIGNMENT = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"
_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_NOW = 1_790_000_000

_MANIFEST = SignedManifest(
    manifest=msgspec.json.encode(
        Manifest(
            purpose="release",
            population="en-gb",
            model_version=120,
            created_at=_NOW,
            files={"predictor.tflite": FileEntry(sha256=_SHA256, size_bytes=1_480_000)},
        )
    ),
    signature=bytes(64),
)

_SUMMARY = PopulationSummary(
    population="en-gb",
    model_version=120,
    devices=4100,
    reported=12_000,
    bytes_up=34_000_000_000,
    max_participations=9,
    epsilon=1.9,
    delta=1e-10,
    rho=0.036,
    refusals={"late_report": 31},
    rounds=[
        RoundSummary(
            id=_ROUND,
            number=121,
            phase=Phase.REPORTING,
            abandoned_because=None,
            selected=130,
            reported=64,
            shortened=12,
            opened_at=float(_NOW),
            closed_at=None,
            model_version=120,
            noise_multiplier=1.0,
            max_participations=9,
            epsilon=1.9,
            bytes_up=180_000_000,
        )
    ],
)

_ENTRY = AuditEntry(
    id=1,
    at=float(_NOW),
    actor="ada",
    action="population.added",
    subject="en-gb",
    details={},
    previous_sha256="0" * 64,
    sha256=_SHA256,
)

_TASK = TaskSummary(
    id=3,
    kind="training",
    privacy=PrivacyParameters(l2_clip_norm=1.0, noise_multiplier=1.0, report_goal=100, minimum_separation_s=259_200),
    ended_at=None,
    ended_because=None,
)

_MESSAGES: tuple[msgspec.Struct, ...] = (
    Enrol(device_id=_DEVICE, public_key=_SHA256, token="1" * 64),
    Enrolled(device_id=_DEVICE, public_key=_SHA256),
    CheckIn(device_id=_DEVICE, runtime="tflite-2.14 aarch64", num_examples=240),
    Selected(
        round_id=_ROUND,
        assignment_id=_ASSIGNMENT,
        assignment_token="2" * 64,
        report_within_s=600.0,
        manifest=_MANIFEST,
    ),
    ComeBack(reconnect_after_s=3600.0, reason="cohort_full"),
    Receipt(assignment_id=_ASSIGNMENT, reconnect_after_s=86_400.0),
    Problem(
        type="urn:keychorus:problem:late_report",
        title="late report",
        status=410,
        detail="the round ended before this report came",
    ),
    _MANIFEST,
    _SUMMARY,
    Populations(populations=[_SUMMARY]),
    NewPopulation(name="en-gb", policy=PopulationPolicy(epsilon_budget=8.0)),
    PopulationPolicy(epsilon_budget=8.0, gate_margin=0.001),
    Tasks(tasks=[_TASK]),
    EndedTask(id=3),
    Nothing(),
    AuditPage(head=_SHA256, entries=[_ENTRY], before=None),
)

EXAMPLES: dict[type, object] = {type(message): msgspec.to_builtins(message) for message in _MESSAGES}
"""By message type, as JSON values."""
