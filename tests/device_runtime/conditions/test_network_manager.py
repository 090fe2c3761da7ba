"""Against a real dbus-daemon, with a NetworkManager that owns the real name and answers what a test wants."""

import shutil
import subprocess
import threading
import time

import pytest
from jeepney import DBusAddress, MessageType, new_error, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import Proxy, open_dbus_connection

from device_runtime.conditions import Unreadable
from device_runtime.conditions.network_manager import NAME, PATH, NetworkManager

pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="dbus-daemon is not installed")


@pytest.fixture
def bus(tmp_path):
    """The address of a bus of our own."""
    address = f"unix:path={tmp_path / 'bus'}"
    command = ["dbus-daemon", "--session", "--nofork", f"--address={address}", "--print-address"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield address
        process.terminate()


class ManagerStub:
    """Owns NetworkManager's name; `metered` is the value of its property, None answers nothing at all."""

    def __init__(self, bus, metered):
        self.metered = metered
        self.asked = []
        self._connection = open_dbus_connection(bus)
        assert Proxy(message_bus, self._connection).RequestName(NAME) == (1,)
        self._closing = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self):
        self._closing = True
        self._thread.join()
        self._connection.close()

    def _serve(self):
        while not self._closing:
            try:
                message = self._connection.receive(timeout=0.05)
            except TimeoutError:
                continue
            if message.header.message_type is MessageType.method_call and self.metered is not None:
                self.asked.append((message.header.fields, message.body))
                self._connection.send(self._answer(message))

    def _answer(self, message):
        if message.body != (NAME, "Metered"):
            return new_error(message, "org.freedesktop.DBus.Error.UnknownProperty")
        return new_method_return(message, "v", (self.metered,))


@pytest.fixture
def stub(bus):
    stub = ManagerStub(bus, ("u", 2))
    yield stub
    stub.close()


@pytest.fixture
def manager(bus):
    manager = NetworkManager(bus, timeout_s=0.3)
    yield manager
    manager.close()


@pytest.mark.parametrize(("value", "unmetered"), [(1, False), (2, True), (3, False), (4, True)])
def test_metered_is_read_as_its_documentation_says(stub, manager, value, unmetered):
    stub.metered = ("u", value)
    assert manager.read().holds is unmetered


@pytest.mark.parametrize("value", [("u", 0), ("u", 77), ("s", "no"), ("b", False)])
def test_what_it_does_not_know_is_unreadable(stub, manager, value):
    stub.metered = value
    with pytest.raises(Unreadable, match="does not know"):
        manager.read()


def test_a_change_is_seen_at_the_next_question(stub, manager):
    assert manager.read().holds
    stub.metered = ("u", 1)
    assert not manager.read().holds


def test_a_bus_without_network_manager_is_told(manager):
    with pytest.raises(Unreadable, match=r'NameHasNoOwner.*network = "unmetered"'):
        manager.read()


def test_silence_is_unreadable_in_time_and_not_for_ever(stub, manager):
    stub.metered = None
    began = time.monotonic()
    with pytest.raises(Unreadable, match="TimeoutError"):
        manager.read()
    assert time.monotonic() - began < 5
    stub.metered = ("u", 2)
    assert manager.read().holds


def test_a_machine_without_a_bus_is_told(tmp_path):
    for address in (f"unix:path={tmp_path / 'none'}", "tcp:host=127.0.0.1,port=1", "nonsense"):
        with pytest.raises(Unreadable, match="D-Bus cannot be asked"):
            NetworkManager(address).read()


def test_a_bus_that_goes_away_and_comes_back(stub, manager):
    assert manager.read().holds
    manager._connection.sock.close()
    with pytest.raises(Unreadable):
        manager.read()
    assert manager.read().holds


def test_the_property_is_asked_of_the_right_object(stub, manager):
    manager.read()
    fields = {str(field.name): value for field, value in stub.asked[0][0].items()}
    assert (fields["path"], fields["destination"]) == (PATH, NAME)
    assert DBusAddress(PATH, NAME, "org.freedesktop.DBus.Properties").interface == fields["interface"]
