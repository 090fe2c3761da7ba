"""A small adb host server: what the real `adb` client talks to, with one made-up device behind it."""

import socket
import socketserver
import struct
import threading
from dataclasses import dataclass, field

STDOUT, EXIT = 1, 3  # packet ids of the protocol shell_v2


@dataclass
class Device:
    """What the device prints, by command; `exit_code` is that of every command."""

    outputs: dict = field(default_factory=dict)
    exit_code: int = 0
    commands: list = field(default_factory=list)
    is_silent: bool = False
    is_attached: bool = True


class AdbStub(socketserver.ThreadingTCPServer):
    """Listens on a loopback port of its own."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, device):
        super().__init__(("127.0.0.1", 0), _Connection)
        self.device = device
        self.closing = threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}).start()

    def close(self):
        self.closing.set()
        self.shutdown()
        self.server_close()


class _Connection(socketserver.StreamRequestHandler):
    def handle(self):
        while length := self.rfile.read(4):
            service = self.rfile.read(int(length, 16)).decode()
            if service == "host:version":
                self._answer(b"0029")
                return  # the client waits for the end of the connection, except after tport
            if service.endswith("features"):
                self._answer(b"shell_v2,cmd")
                return
            if service.startswith("host:tport:"):
                if not self.server.device.is_attached:
                    self._fail(b"no devices/emulators found")
                    return
                self.wfile.write(b"OKAY" + struct.pack("<Q", 1))
            elif service.startswith("shell,v2"):
                self._shell(service.partition(":")[2])
                return
            else:
                self._fail(f"unknown service {service}".encode())
                return

    def _answer(self, content):
        self.wfile.write(b"OKAY%04x" % len(content) + content)

    def _fail(self, reason):
        self.wfile.write(b"FAIL%04x" % len(reason) + reason)

    def _shell(self, command):
        device = self.server.device
        device.commands.append(command)
        self.wfile.write(b"OKAY")
        if device.is_silent:
            self.server.closing.wait(30)
            return
        output = device.outputs.get(command, "").encode()
        self.wfile.write(struct.pack("<BI", STDOUT, len(output)) + output)
        self.wfile.write(struct.pack("<BIB", EXIT, 1, device.exit_code))
        self.connection.shutdown(socket.SHUT_WR)
