"""A TCP server inside the test's own process, on an event loop and a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Self

_STOP_SECONDS = 10.0


class Server:
    """Serves every connection with `serve`; `with` starts it and ends it with all its connections."""

    def __init__(self, listener: socket.socket | None = None) -> None:
        """listener: a bound, listening socket; without one, a free port on the loopback address."""
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._ready = threading.Event()
        self._stop = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(_STOP_SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_STOP_SECONDS)

    def cut(self) -> None:
        """Reset every connection; new ones are served."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(_STOP_SECONDS)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk with one client until it, or this, is done."""
        raise NotImplementedError

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        server = await asyncio.start_server(self._accept, sock=self._listener)
        self._ready.set()
        await self._stop.wait()
        server.close()
        await self._cut()
        await server.wait_closed()

    async def _cut(self) -> None:
        tasks = [task for task in self._connections if not task.done()]
        for task in tasks:
            reset(self._connections[task])
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self.serve(reader, writer)
        finally:
            del self._connections[task]
            await close(writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST: what is under way in either direction is lost."""
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def close(writer: asyncio.StreamWriter) -> None:
    """End a connection in order, whatever state it is in."""
    writer.close()
    with contextlib.suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()
