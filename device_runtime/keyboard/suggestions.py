"""Resource `suggestions`: a keystroke in, three words out."""

from typing import Annotated

import msgspec
from flask import Blueprint, Response

from device_runtime.keyboard.answers import MAX_TEXT_CHARS, answer, read_body
from device_runtime.keyboard.device import KeyboardDevice
from device_runtime.typing_log import FieldKind


class Keystroke(msgspec.Struct, forbid_unknown_fields=True):
    """What the page sends after each keystroke: the text before the cursor, none of it from a sensitive field."""

    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARS)]
    field: FieldKind = FieldKind.TEXT


def suggestions_resource(device: KeyboardDevice) -> Blueprint:
    """Makes the resource."""
    resource = Blueprint("suggestions", __name__)

    @resource.post("/suggestions")
    def suggest() -> Response:
        keystroke = read_body(Keystroke)
        found = device.suggest(keystroke.text, keystroke.field)
        return answer([{"word": each.word, "probability": each.probability} for each in found])

    return resource
