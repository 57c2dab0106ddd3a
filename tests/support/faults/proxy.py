"""Stands between clients and one server: passes bytes, holds them up, changes them, cuts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from tests.support.faults.server import Server, close, reset

_CHUNK_BYTES = 65_536


class Cut(Exception):
    """The link ends now: both of its sides are reset."""


class Link:
    """One client's connection as its protocol sees it; passes everything unless overridden.

    What a method returns goes on to the other side. Raising Cut resets both.
    """

    def from_client(self, data: bytes) -> bytes:
        return data

    def from_server(self, data: bytes) -> bytes:
        return data


class Proxy(Server):
    """Listens on `port` in place of the server; `hold` and `release` act on all connections."""

    def __init__(self, server_port: int, listener: socket.socket | None = None) -> None:
        super().__init__(listener)
        self._server_port = server_port
        self._passing = asyncio.Event()
        self._passing.set()

    def link(self) -> Link:
        """What the next connection goes through."""
        return Link()

    def hold(self) -> None:
        """Pass nothing on and close nothing, like a network that swallows packets."""
        self._loop.call_soon_threadsafe(self._passing.clear)

    def release(self) -> None:
        """Pass on what came meanwhile, and everything from now on."""
        self._loop.call_soon_threadsafe(self._passing.set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._passing.wait()
        try:
            server_reader, server_writer = await asyncio.open_connection(
                "127.0.0.1", self._server_port
            )
        except OSError:
            reset(writer)
            return
        link = self.link()
        pumps = [
            asyncio.create_task(self._pump(reader, server_writer, link.from_client)),
            asyncio.create_task(self._pump(server_reader, writer, link.from_server)),
        ]
        try:
            await asyncio.gather(*pumps)
        except (Cut, OSError, asyncio.CancelledError):
            reset(writer)
            reset(server_writer)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            await close(server_writer)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        change: Callable[[bytes], bytes],
    ) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await self._passing.wait()
            writer.write(change(data))
            await writer.drain()
        await self._passing.wait()
        writer.write_eof()
