"""The typing log: what was typed, message by message, encrypted, expiring, on this device only.

SQLite holds the rows; text and app are sealed with AES-256-GCM under a key outside the database. In the clear are only
the time of a message, its length and its number of words, which expiry and the training cap need, and the switches with
the names of the apps on the deny list, which must outlive a lost key.
"""

from device_runtime.typing_log.admission import Admission, FieldKind
from device_runtime.typing_log.log import DEFAULT_MAX_BYTES, DEFAULT_RETENTION_S, TypingLog
from device_runtime.typing_log.message import Counts, LoggedMessage
from device_runtime.typing_log.sealed_values import SealedValues
from device_runtime.typing_log.switches import Switches
from device_runtime.typing_log.vault import wipe_log

__all__ = [
    "DEFAULT_MAX_BYTES",
    "DEFAULT_RETENTION_S",
    "Admission",
    "Counts",
    "FieldKind",
    "LoggedMessage",
    "SealedValues",
    "Switches",
    "TypingLog",
    "wipe_log",
]
