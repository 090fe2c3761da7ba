"""Resource `messages`: a finished message in, whether it was logged out."""

from typing import Annotated

import msgspec
from flask import Blueprint, Response

from device_runtime.keyboard.answers import MAX_TEXT_CHARS, answer, read_body
from device_runtime.keyboard.device import KeyboardDevice
from device_runtime.typing_log import Admission, FieldKind

SENTENCES = {
    Admission.STORED: "Logged on this device.",
    Admission.NO_CONSENT: "Not logged: logging is off.",
    Admission.PAUSED: "Not logged: logging is paused.",
    Admission.INCOGNITO: "Not logged: incognito is on.",
    Admission.SENSITIVE_FIELD: "Not logged: such a field never is.",
    Admission.DENIED_APP: "Not logged: this page is on the deny list.",
    Admission.NO_WORDS: "Not logged: there is no word in it.",
    Admission.DISK_FULL: "Not logged: the disk is full.",
    Admission.FAILED: "Not logged: the log could not be written.",
}
"""What the page says of a message that was sent."""


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """A message that was sent. Of a sensitive field the page sends an empty text."""

    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARS)]
    field: FieldKind = FieldKind.TEXT

    def __repr__(self) -> str:
        """Never the text."""
        return f"Message(field={self.field.value})"


def messages_resource(device: KeyboardDevice) -> Blueprint:
    """Makes the resource."""
    resource = Blueprint("messages", __name__)

    @resource.post("/messages")
    def send() -> Response:
        message = read_body(Message)
        admission = device.send(message.text, message.field)
        return answer({"admission": admission, "sentence": SENTENCES[admission]})

    return resource
