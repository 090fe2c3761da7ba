"""Every way in which the service says no to a device: a closed list, so that refusals can be counted by kind."""

from collections.abc import Mapping
from enum import StrEnum


class RefusalKind(StrEnum):
    """Why a request was refused. The values are written in problem bodies and counted."""

    MALFORMED_MESSAGE = "malformed_message"
    MALFORMED_UPDATE = "malformed_update"
    NON_FINITE_UPDATE = "non_finite_update"
    TOO_LARGE = "too_large"
    LENGTH_REQUIRED = "length_required"
    WRONG_MEDIA_TYPE = "wrong_media_type"
    MISSING_TOKEN = "missing_token"  # noqa: S105
    WRONG_TOKEN = "wrong_token"  # noqa: S105
    DUPLICATE_REPORT = "duplicate_report"
    LATE_REPORT = "late_report"
    WRONG_AGGREGATION = "wrong_aggregation"
    WRONG_STAGE = "wrong_stage"
    CHANGED_MESSAGE = "changed_message"
    WRONG_GROUP_MESSAGE = "wrong_group_message"
    GROUP_ENDED = "group_ended"
    UNKNOWN_ASSIGNMENT = "unknown_assignment"
    UNKNOWN_POPULATION = "unknown_population"
    UNKNOWN_FILE = "unknown_file"
    NO_RELEASE = "no_release"
    UNKNOWN_DEVICE = "unknown_device"
    REVOKED_DEVICE = "revoked_device"
    WRONG_SIGNATURE = "wrong_signature"
    WRONG_DEVICE = "wrong_device"
    CLOCK_SKEW = "clock_skew"
    REPEATED_NONCE = "repeated_nonce"
    BODY_DIGEST = "body_digest"
    ENROLMENT_REFUSED = "enrolment_refused"
    NOT_LOGGED_IN = "not_logged_in"
    NOT_ALLOWED = "not_allowed"
    TOO_MANY_REQUESTS = "too_many_requests"
    UNKNOWN_ADDRESS = "unknown_address"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    BAD_REQUEST = "bad_request"
    TIMED_OUT = "timed_out"
    UNAVAILABLE = "unavailable"
    INTERNAL_ERROR = "internal_error"


class Refused(Exception):
    """A request that is refused.

    Attributes:
      kind: why.
      detail: one sentence for whoever reads the device's log; never quotes what the device sent.
      headers: that the answer carries beside its body.

    """

    def __init__(self, kind: RefusalKind, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
