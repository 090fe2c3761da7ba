"""The network between devices and service: a TCP relay on the loopback address that harms connections as it is told.

Ours, because the relays that exist for this are servers of their own in other languages (Toxiproxy, in Go).
"""

import asyncio
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from emulator.soaking.faults import Fate, Fault

_PIECE_BYTES = 16 * 1024
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: what is closed is reset."""
_STOPS_WITHIN_S = 5.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Relay:
    """Forwards each connection to one port, or harms it, in a thread of its own.

    Attributes:
      port: at which it listens.
      connections: that devices made.
      met: how many connections met each fault; a cut that a message was too short for is none.

    Guarantees:
      Of a direction that is cut after n bytes exactly the first n arrive, and both ends see the connection end.

    """

    def __init__(
        self, target_port: int, fates: Iterator[Fate], on_connection: Callable[[], None] = lambda: None
    ) -> None:
        """Args: `fates` of connections, in the order of their making; `on_connection` is told of each."""
        self.connections = 0
        self.met: Counter[Fault] = Counter()
        self._target_port = target_port
        self._fates = fates
        self._on_connection = on_connection
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    @property
    def url(self) -> str:
        """The service, as devices find it."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_STOPS_WITHIN_S)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._meet, sock=self._listener, limit=_PIECE_BYTES)
        await self._stopping.wait()
        server.close()
        await asyncio.sleep(0)  # what was accepted just now becomes a task
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first byte to its last."""
        fate = next(self._fates)
        self.connections += 1
        self._on_connection()
        with suppress(OSError, asyncio.CancelledError):  # cancelled: the soak is over
            if fate.fault is Fault.REFUSED:
                self.met[fate.fault] += 1
                _reset(writer)
            else:
                await self._forward((reader, writer), fate)
        writer.close()

    async def _forward(self, device: Streams, fate: Fate) -> None:
        try:
            service = await asyncio.open_connection("127.0.0.1", self._target_port, limit=_PIECE_BYTES)
        except OSError:
            _reset(device[1])  # nobody listens there now, and so nobody does here
            return
        if fate.fault is Fault.SLOWED:
            self.met[fate.fault] += 1
        pause_s = fate.pause_s if fate.fault is Fault.SLOWED else 0.0
        up, down = (fate.after_bytes if fate.fault is cut else None for cut in (Fault.CUT_REQUEST, Fault.CUT_ANSWER))
        pumps = [
            asyncio.ensure_future(_pump(device[0], service[1], up, pause_s)),
            asyncio.ensure_future(_pump(service[0], device[1], down, pause_s)),
        ]
        try:
            if await _first_cut(pumps) and fate.fault is not None:
                self.met[fate.fault] += 1
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            service[1].close()


async def _first_cut(pumps: list["asyncio.Future[bool]"]) -> bool:
    """Waits until both directions have ended, or one was cut or broken; returns whether one was cut."""
    for next_ended in asyncio.as_completed(pumps):
        if await next_ended:
            return True
    return False


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, after_bytes: int | None, pause_s: float
) -> bool:
    """Forwards one direction up to its end or its cut, and passes its end on; returns whether it was cut."""
    left = after_bytes
    while piece := await reader.read(_PIECE_BYTES):
        if pause_s:
            await asyncio.sleep(pause_s)
        is_cut = left is not None and len(piece) > left
        writer.write(piece[:left] if is_cut else piece)
        await writer.drain()
        if is_cut:
            return True
        left = None if left is None else left - len(piece)
    writer.write_eof()
    return False


def _reset(writer: asyncio.StreamWriter) -> None:
    made: socket.socket = writer.get_extra_info("socket")
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
