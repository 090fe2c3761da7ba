"""What enters the typing log, and why the rest does not."""

import enum

from device_runtime.typing_log.switches import Switches


class FieldKind(enum.StrEnum):
    """What a text was typed into, as the keyboard's host declares it."""

    TEXT = "text"
    PASSWORD = "password"  # noqa: S105  # a kind of field
    ONE_TIME_CODE = "one_time_code"
    PAYMENT = "payment"


class Admission(enum.StrEnum):
    """What became of a message that was offered to the log."""

    STORED = "stored"
    """It is in the log."""
    NO_CONSENT = "no_consent"
    """The person has not switched logging on."""
    PAUSED = "paused"
    """The person has paused logging."""
    INCOGNITO = "incognito"
    """The keyboard is in incognito mode."""
    SENSITIVE_FIELD = "sensitive_field"
    """It was typed into a field of which nothing is ever logged: all but `FieldKind.TEXT`."""
    DENIED_APP = "denied_app"
    """It was typed in an app on the deny list."""
    NO_WORDS = "no_words"
    """There is no word in it."""
    DISK_FULL = "disk_full"
    """There is no room for it on the disk."""
    FAILED = "failed"
    """The log could not be written; the program's log says why."""


def refusal(switches: Switches, app: str, field: FieldKind) -> Admission | None:
    """Why nothing from this app and field may be stored now; None if it may.

    | first that holds                          | result            |
    |-------------------------------------------|-------------------|
    | a field other than `FieldKind.TEXT`       | `SENSITIVE_FIELD` |
    | consent is not given                      | `NO_CONSENT`      |
    | incognito                                 | `INCOGNITO`       |
    | paused                                    | `PAUSED`          |
    | the app is on the deny list, in any case  | `DENIED_APP`      |
    """
    if field is not FieldKind.TEXT:
        return Admission.SENSITIVE_FIELD
    if not switches.consent:
        return Admission.NO_CONSENT
    if switches.incognito:
        return Admission.INCOGNITO
    if switches.paused:
        return Admission.PAUSED
    if switches.denies(app):
        return Admission.DENIED_APP
    return None
