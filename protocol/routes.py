"""The addresses of the HTTP API: one place for both sides."""

API = "/v1"


def check_ins(population: str) -> str:
    """POST `CheckIn`, answered by `CheckInAnswer`."""
    return f"{API}/populations/{population}/check-ins"


def devices(population: str) -> str:
    """POST `Enrol`, answered by `Enrolled`."""
    return f"{API}/populations/{population}/devices"


def file(sha256: str) -> str:
    """GET a file by its content's hash; it never changes, so it may be cached for ever."""
    return f"{API}/files/{sha256}"


def report(round_id: str, assignment_id: str) -> str:
    """PUT an encoded update, `Authorization: Bearer <assignment token>`, answered by `Receipt`."""
    return f"{API}/rounds/{round_id}/reports/{assignment_id}"


def secure_aggregation(round_id: str, assignment_id: str, message: str) -> str:
    """PUT a device's message of a stage, GET what the service tells it at the next; bearer token as for a report.

    `message` is one of PUT `keys`, `shares`, `masked-input`, `confirmation`, `unmasking`, answered by 204 (the last by
    `Receipt`), and GET `roster`, `delivery`, `survivors`, `confirmations`, answered by the message, or by 202 with
    `Retry-After` while others are waited for.
    """
    return f"{API}/rounds/{round_id}/secure-aggregation/{assignment_id}/{message}"


def release(population: str) -> str:
    """GET the newest `SignedManifest` of purpose `release`."""
    return f"{API}/populations/{population}/release"


def rounds(population: str) -> str:
    """GET what operators see of all rounds: phases, counts, bytes and privacy spent."""
    return f"{API}/populations/{population}/rounds"
