"""Whether the network is metered, from NetworkManager over D-Bus."""

import threading
from contextlib import closing

from jeepney import DBusAddress, MessageFlag, Properties  # type: ignore[import-untyped]
from jeepney.io.blocking import DBusConnection, open_dbus_connection  # type: ignore[import-untyped]
from jeepney.wrappers import DBusErrorResponse, unwrap_msg  # type: ignore[import-untyped]

from device_runtime.conditions.interface import Reading, Unreadable

NAME = "org.freedesktop.NetworkManager"
PATH = "/org/freedesktop/NetworkManager"
_METERED = {1: "metered", 2: "unmetered", 3: "metered, by NetworkManager's guess", 4: "unmetered, by its guess"}
"""Values of the property Metered: NMMetered in NetworkManager's D-Bus interface; 0 is unknown."""
_UNMETERED_VALUES = (2, 4)
_HINT = 'network = "unmetered" in device.toml declares it so'


class NetworkManager:
    """Asks NetworkManager. A connection to the bus serves many questions, and is made anew after a failure."""

    def __init__(self, bus: str = "SYSTEM", *, timeout_s: float = 1.0):
        """Takes the bus, for nothing yet.

        Args:
          bus: "SYSTEM", "SESSION" or a D-Bus address.
          timeout_s: longest wait for an answer.

        """
        self._bus = bus
        self._timeout_s = timeout_s
        self._connection: DBusConnection | None = None
        self._lock = threading.Lock()

    def read(self) -> Reading:
        """Whether the machine's network is unmetered.

        Raises:
          Unreadable: no bus, no NetworkManager on it, no answer in time, or an answer of "unknown".

        """
        with self._lock:
            metered = self._metered()
        if metered not in _METERED:
            raise Unreadable(f"NetworkManager does not know whether the network is metered; {_HINT}")
        return Reading(metered in _UNMETERED_VALUES, _METERED[metered])

    def close(self) -> None:
        """Ends the connection to the bus, if there is one."""
        if self._connection is not None:
            with closing(self._connection):
                self._connection = None

    def _metered(self) -> object:
        question = Properties(DBusAddress(PATH, bus_name=NAME, interface=NAME)).get("Metered")
        question.header.flags |= MessageFlag.no_auto_start  # looking must not start what the owner has stopped
        try:
            if self._connection is None:
                self._connection = open_dbus_connection(self._bus, auth_timeout=self._timeout_s)
            reply = self._connection.send_and_get_reply(question, timeout=self._timeout_s)
            [(_, value)] = unwrap_msg(reply)
        except DBusErrorResponse as error:
            raise Unreadable(f"NetworkManager does not answer ({error.name}); {_HINT}") from None
        except (OSError, RuntimeError, ValueError, TypeError) as error:  # what jeepney raises for a bus that errs
            self.close()
            raise Unreadable(f"the system's D-Bus cannot be asked ({type(error).__name__}); {_HINT}") from None
        return value
