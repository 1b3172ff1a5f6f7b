"""The only way out of an account's browser: a proxy of this process that decides about each connection.

A browser looks up names and follows redirects by itself. Here the address that is really connected to is judged, as
the http engine does, and what the pages of one visit may weigh in all is bounded. It speaks HTTP/1.1 (RFC 9110,
9112) to the browser, on loopback: tunnels for https, one request a connection for http.
"""

import asyncio
import socket
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from playwright.async_api import ProxySettings

from db.models import ResultCause
from portal_import.engine.errors import PassingError, VisitError, explain_connection_error
from portal_import.engine.networks import make_socket_factory
from portal_import.outcomes import Limits

PAGES_WEIGH = 10  # pages of the largest size allowed; scripts and data come on top of what is read
_CHUNK_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 64 * 1024
_HEAD_END = b"\r\n\r\n"
_OF_THE_CONNECTION = (b"connection:", b"proxy-connection:", b"proxy-authorization:", b"keep-alive:")


class BrowserProxy:
    """One visit's proxy. `failure` is why a connection was not made or was cut off, the newest of the reasons."""

    def __init__(self, limits: Limits) -> None:
        self.failure: VisitError | None = None
        self.overflow: VisitError | None = None
        self._limits = limits
        self._make_socket = make_socket_factory(allows_private=limits.allows_private_networks)
        self._bytes_left = limits.max_page_bytes * PAGES_WEIGH
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_MAX_HEAD_BYTES)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def allow_more(self, count: int) -> None:
        """A file is to come beside the pages."""
        self._bytes_left += count

    @property
    def settings(self) -> ProxySettings:
        """For the browser; its own exception for this machine is taken back."""
        port = self._server.sockets[0].getsockname()[1]
        return {"server": f"http://127.0.0.1:{port}", "bypass": "<-loopback>"}

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            return  # either end hung up, or what came is no HTTP: the browser sees a broken connection, and says so
        finally:
            writer.close()
            self._connections.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(_HEAD_END)
        method, target, _ = head.split(b" ", 2)
        url = urlsplit(f"//{target.decode()}" if method == b"CONNECT" else target.decode())
        portal_reader, portal_writer = await self._connect(url.hostname or "", url.port or 80)
        try:
            if method == b"CONNECT":
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                async with asyncio.TaskGroup() as group:
                    upload = group.create_task(_pipe(reader, portal_writer))
                    await self._download(portal_reader, writer)
                    upload.cancel()
            else:
                path = target.split(b"/", 3)[3:] or [b""]
                portal_writer.write(_rewrite(b" ".join((method, b"/" + path[0], b"HTTP/1.1")), head))
                await _pipe(reader, portal_writer, _content_length(head))
                await self._pass_head(portal_reader, writer)
                await self._download(portal_reader, writer)
        finally:
            portal_writer.close()

    async def _connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connected to the first of the host's addresses that may be, and can be, connected to."""
        loop = asyncio.get_running_loop()
        seconds = self._limits.request_timeout_seconds
        failure: OSError = OSError("no address")
        try:
            async with asyncio.timeout(seconds):
                for info in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                    try:
                        connection = self._make_socket(info)
                        connection.setblocking(False)
                        await loop.sock_connect(connection, info[4])
                        return await asyncio.open_connection(sock=connection)
                    except OSError as error:
                        failure = error
        except OSError as error:  # the name is not known, or the time is over
            failure = error
        detail = f"{host}: {type(failure).__name__}: {failure}"
        if isinstance(failure, TimeoutError):
            self.failure = PassingError(
                f"the portal did not answer within {seconds:g} seconds", detail=detail, cause=ResultCause.TIMEOUT
            )
        else:
            self.failure = explain_connection_error(host, failure, detail)
        raise failure

    async def _pass_head(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The answer's head, and any that goes before it; the connection ends with the answer."""
        while True:
            head = await reader.readuntil(_HEAD_END)
            first, _, _ = head.partition(b"\r\n")
            if not first.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")):
                writer.write(_rewrite(first, head))
                return
            writer.write(head)

    async def _download(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            self._bytes_left -= len(chunk)
            if self._bytes_left < 0:
                allowed = self._limits.max_page_bytes * PAGES_WEIGH
                self.overflow = VisitError(
                    f"the portal's pages sent more than the {allowed:,} bytes allowed to a visit"
                )
                raise OSError("too much")
            writer.write(chunk)
            await writer.drain()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int | None = None) -> None:
    """Pass on so many bytes, or all of them."""
    while length != 0:
        chunk = await reader.read(_CHUNK_BYTES if length is None else min(length, _CHUNK_BYTES))
        if not chunk:
            return
        length = None if length is None else length - len(chunk)
        writer.write(chunk)
        await writer.drain()


def _rewrite(first: bytes, head: bytes) -> bytes:
    """The head with another first line; the connection is for this one message."""
    lines = head.removesuffix(_HEAD_END).split(b"\r\n")[1:]
    kept = [line for line in lines if not line.lower().startswith(_OF_THE_CONNECTION)]
    return b"\r\n".join([first, *kept, b"Connection: close"]) + _HEAD_END


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0
