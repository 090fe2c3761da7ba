"""The table: every route of the API, who may ask it, what it takes, and all its answers. A test holds it to the app."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from aggregation_service.policy import PopulationPolicy
from aggregation_service.refusals import RefusalKind as Kind
from aggregation_service.resources.admin import (
    ADMIN,
    POPULATIONS,
    AuditPage,
    AuditQuery,
    EndedTask,
    NewPopulation,
    Nothing,
    Populations,
    Tasks,
)
from aggregation_service.summaries import PopulationSummary
from protocol import routes
from protocol.enrolment import Enrol, Enrolled
from protocol.manifest import SignedManifest
from protocol.messages import CheckIn, CheckInAnswer, Receipt
from protocol.secure_aggregation.inputs import SECURE_MEDIA_TYPE
from protocol.update import UPDATE_MEDIA_TYPE

Auth = Literal["none", "device", "assignment", "operator"]

BYTES = "application/octet-stream"
PLAIN_TEXT = "text/plain"
PAGES = ("/dashboard", "/login", "/logout")
"""What lies under these is for people in browsers, and no part of the API."""

_BODY = (Kind.WRONG_MEDIA_TYPE, Kind.LENGTH_REQUIRED, Kind.TOO_LARGE, Kind.TIMED_OUT, Kind.BAD_REQUEST)
_MESSAGE = (*_BODY, Kind.MALFORMED_MESSAGE)
_SIGNATURE = (Kind.MALFORMED_MESSAGE, Kind.CLOCK_SKEW, Kind.WRONG_SIGNATURE, Kind.BODY_DIGEST, Kind.REPEATED_NONCE)
_DEVICE = (*_SIGNATURE, Kind.UNKNOWN_DEVICE, Kind.REVOKED_DEVICE, Kind.WRONG_DEVICE)
_ENROLMENT = (Kind.ENROLMENT_REFUSED, Kind.REVOKED_DEVICE, Kind.WRONG_DEVICE)
_OPERATOR = (Kind.NOT_LOGGED_IN, Kind.NOT_ALLOWED)
_SECURE = (
    *(Kind.MISSING_TOKEN, Kind.WRONG_TOKEN, Kind.UNKNOWN_ASSIGNMENT, Kind.WRONG_AGGREGATION),
    *(Kind.WRONG_STAGE, Kind.CHANGED_MESSAGE, Kind.WRONG_GROUP_MESSAGE, Kind.GROUP_ENDED),
)
_REPORT = (
    Kind.WRONG_AGGREGATION,
    *(Kind.MISSING_TOKEN, Kind.WRONG_TOKEN, Kind.UNKNOWN_ASSIGNMENT, Kind.DUPLICATE_REPORT, Kind.LATE_REPORT),
    *(Kind.MALFORMED_UPDATE, Kind.NON_FINITE_UPDATE),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One method of one address.

    Attributes:
      method: in upper case.
      rule: as Flask writes it, with `<names>`.
      summary: one sentence for the document.
      auth: who may ask: anybody, an enrolled device by its signature, that device for its assignment, an operator.
      takes: the body's message, or its media type; None without body.
      query: the message whose fields are the query's.
      answers: the message, or the media type, of each status that is a success.
      refusals: every kind of refusal beside those of any route.

    """

    method: str
    rule: str
    summary: str
    auth: Auth = "none"
    takes: object = None
    query: type | None = None
    answers: dict[int, object]
    refusals: Sequence[Kind] = ()

    @property
    def all_refusals(self) -> set[Kind]:
        """Also those that any route may answer."""
        return {*self.refusals, Kind.TOO_MANY_REQUESTS, Kind.UNAVAILABLE, Kind.INTERNAL_ERROR}


def _admin(
    method: str, rule: str, summary: str, answer: object, *, takes: object = None, query: type | None = None
) -> Route:
    """A route of the operators' API; one that takes a message changes something."""
    refusals = [*_OPERATOR]
    refusals += _MESSAGE if takes is not None else ()
    refusals += [Kind.BAD_REQUEST] if query is not None else ()
    refusals += [Kind.UNKNOWN_POPULATION] if "<population>" in rule else ()
    return Route(
        method=method,
        rule=rule,
        summary=summary,
        auth="operator",
        takes=takes,
        query=query,
        answers={200: answer},
        refusals=refusals,
    )


def _secure(method: str, message: str, summary: str, answers: dict[int, object]) -> Route:
    """A route of secure aggregation: a member's message, or what it is told."""
    return Route(
        method=method,
        rule=routes.secure_aggregation("<round_id>", "<assignment_id>", message),
        summary=summary,
        auth="assignment",
        takes=SECURE_MEDIA_TYPE if method == "PUT" else None,
        answers=answers,
        refusals=(*_DEVICE, *_SECURE, *(_MESSAGE if method == "PUT" else ())),
    )


_TOLD: dict[int, object] = {200: SECURE_MEDIA_TYPE, 202: None}
_SECURE_ROUTES = (
    _secure("PUT", "keys", "A device of the cohort that has trained advertises its keys.", {204: None}),
    _secure("GET", "roster", "The roster of its group; 202 until there is one.", _TOLD),
    _secure("PUT", "shares", "A member's shares, sealed for its neighbours.", {204: None}),
    _secure("GET", "delivery", "What its neighbours sealed for it; 202 until they did.", _TOLD),
    _secure("PUT", "masked-input", "Its masked update; an acknowledged one is in the group's sum.", {204: None}),
    _secure("GET", "survivors", "Whose updates are in the sum; 202 until that is known.", _TOLD),
    _secure("PUT", "confirmation", "A member's signature over what it was told.", {204: None}),
    _secure("GET", "confirmations", "The signatures of its neighbours; 202 until they are there.", _TOLD),
    _secure("PUT", "unmasking", "A member's shares, with which the sum is unmasked.", {200: Receipt}),
)

ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        rule=routes.devices("<population>"),
        summary="A device shows its key once; the request is signed with that key.",
        auth="device",
        takes=Enrol,
        answers={200: Enrolled},
        refusals=(*_MESSAGE, *_SIGNATURE, *_ENROLMENT, Kind.UNKNOWN_POPULATION),
    ),
    Route(
        method="POST",
        rule=routes.check_ins("<population>"),
        summary="A device offers to take part in a round.",
        auth="device",
        takes=CheckIn,
        answers={200: CheckInAnswer},
        refusals=(*_MESSAGE, *_DEVICE, Kind.UNKNOWN_POPULATION),
    ),
    Route(
        method="PUT",
        rule=routes.report("<round_id>", "<assignment_id>"),
        summary="A device of the cohort sends its clipped update; an acknowledged one is counted exactly once.",
        auth="assignment",
        takes=UPDATE_MEDIA_TYPE,
        answers={200: Receipt},
        refusals=(*_BODY, *_DEVICE, *_REPORT),
    ),
    *_SECURE_ROUTES,
    Route(
        method="GET",
        rule=routes.release("<population>"),
        summary="The release that devices should use.",
        answers={200: SignedManifest},
        refusals=(Kind.UNKNOWN_POPULATION, Kind.NO_RELEASE),
    ),
    Route(
        method="GET",
        rule=routes.file("<sha256>"),
        summary="A file by its content's hash, whole or a range of it.",
        answers={200: BYTES, 206: BYTES, 304: None},
        refusals=(Kind.UNKNOWN_FILE,),
    ),
    Route(
        method="GET",
        rule=routes.rounds("<population>"),
        summary="What operators see of all rounds.",
        auth="operator",
        answers={200: PopulationSummary},
        refusals=(*_OPERATOR, Kind.UNKNOWN_POPULATION),
    ),
    _admin("GET", POPULATIONS, "All populations.", Populations),
    _admin("POST", POPULATIONS, "Adds a population.", NewPopulation, takes=NewPopulation),
    _admin("GET", f"{POPULATIONS}/<population>/policy", "A population's policy.", PopulationPolicy),
    _admin("PUT", f"{POPULATIONS}/<population>/policy", "Replaces it.", PopulationPolicy, takes=PopulationPolicy),
    _admin("GET", f"{POPULATIONS}/<population>/tasks", "Its tasks, newest first.", Tasks),
    _admin(
        "POST", f"{POPULATIONS}/<population>/tasks/end", "Ends the task whose round is next.", EndedTask, takes=Nothing
    ),
    _admin(
        "POST", f"{ADMIN}/devices/<population>/<device_id>/revoke", "Revokes a device's key.", Nothing, takes=Nothing
    ),
    _admin("GET", f"{ADMIN}/audit", "The audit log, newest first.", AuditPage, query=AuditQuery),
    Route(method="GET", rule="/health", summary="Whether the process lives.", answers={200: "application/json"}),
    Route(
        method="GET",
        rule="/ready",
        summary="Whether it should be sent requests; 503 if not.",
        answers={200: "application/json", 503: "application/json"},
    ),
    Route(
        method="GET",
        rule="/metrics",
        summary="For Prometheus, from allowed addresses.",
        answers={200: PLAIN_TEXT},
        refusals=(Kind.UNKNOWN_ADDRESS,),
    ),
    Route(method="GET", rule="/openapi.json", summary="This document.", answers={200: "application/json"}),
)
