"""Attacks an import: a portal that does its worst, beside it a sound one, and what came of both accounts."""

import asyncio
import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, TypeVar

from portal_import.outcomes import Limits
from settings import PROJECT_ROOT
from tests.portal_server import PASSWORD, Request, Route, ScriptedPortal, ordinary_routes

ORDER_SECONDS = 60
MAX_MEGABYTES = 100  # what a page of `Limits.max_page_bytes` and all that is read from it may take

MAX_LINE = 1_000  # characters of whatever is said of a visit

T = TypeVar("T")


@dataclass(frozen=True)
class Attack:
    """What the import of the attacked account came to. `other` is how the sound portal's account ended."""

    status: str
    error: str | None
    detail: str | None
    retries: int
    bills: list[tuple[str, list[str]]]
    lines: list[str]
    files: list[str]
    stored_bytes: int
    other: tuple[str, int]
    megabytes: float
    requests: list[Request]

    def count(self, method: str, path: str) -> int:
        return sum((request.method, request.path) == (method, path) for request in self.requests)


class DroppingPortal(ScriptedPortal):
    """Serves so many connections, and resets each other one before it has read anything."""

    def __init__(self, routes: dict[str, Route], connections: int) -> None:
        super().__init__(routes)
        self._connections_left = connections

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections_left -= 1
        if self._connections_left < 0:
            reset_connection(writer)
            return
        await super()._accept(reader, writer)


def reset_connection(writer: asyncio.StreamWriter) -> None:
    """End it by RST instead of FIN."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@dataclass
class Importer:
    """The importing process, and the loop in which the portals live."""

    process: "subprocess.Popen[str]"
    loop: asyncio.AbstractEventLoop

    def attack(
        self,
        routes: dict[str, Route],
        *,
        tls: SSLContext | None = None,
        connections: int | None = None,
        megabytes: float = MAX_MEGABYTES,
        **limits: float,
    ) -> Attack:
        """Import while the portal does that, and check what holds after every attack: the account has ended in one
        clear way, the password is nowhere, the other account is unaffected and memory stayed within bounds. After so
        many `connections` the portal takes no other.
        """
        portal = ScriptedPortal(routes, tls) if connections is None else DroppingPortal(routes, connections)
        sound = ScriptedPortal(ordinary_routes())
        wanted = {"request_timeout_seconds": 5, "account_timeout_seconds": 20, "max_retries": 1} | limits
        order = {"limits": wanted}
        self._call(portal.__aenter__())
        self._call(sound.__aenter__())
        try:
            answer = self._order(order | {"url": portal.url, "sound_url": sound.url})
        finally:
            self._call(portal.__aexit__())
            self._call(sound.__aexit__())
        made = Attack(**answer | {"other": tuple(answer["other"])}, requests=portal.requests)
        assert Limits(**wanted)  # pyright: ignore[reportArgumentType]
        check_attack(made, megabytes)
        return made

    def _order(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        watchdog = threading.Timer(ORDER_SECONDS, self.process.kill)  # a process that hangs must not hang the tests
        watchdog.start()
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        finally:
            watchdog.cancel()
        assert line, f"the importing process ended or hung for {ORDER_SECONDS} seconds"
        return json.loads(line)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(ORDER_SECONDS)


def check_attack(made: Attack, megabytes: float) -> None:
    """What holds after every attack."""
    assert made.other == ("success", 2)
    assert made.megabytes < megabytes, f"{made.megabytes:.0f} MB: {made.error}"
    assert (made.error is None) == (made.status in ("success", "no_bills"))
    assert max(map(len, (made.error or "", made.detail or "", *made.lines))) <= MAX_LINE
    assert PASSWORD not in repr(made.lines) + repr(made.error) + repr(made.detail)
    assert "unfinished" not in repr(made.files)
    assert made.count("POST", "/login") <= 1


@contextmanager
def portals_thread() -> Generator[asyncio.AbstractEventLoop]:
    """An event loop in a thread, so that the portals answer while the tests wait."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="portals", daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@contextmanager
def start_importer(loop: asyncio.AbstractEventLoop) -> Generator[Importer]:
    """Start the importing process; it ends with its stdin."""
    command = [sys.executable, "-m", "tests.hostile.importer"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT_ROOT
    ) as process:
        importer = Importer(process, loop)
        warm_up = importer.attack(ordinary_routes(), megabytes=1000)  # everything loaded: later growth is an attack's
        assert (warm_up.status, len(warm_up.bills)) == ("success", 2)
        yield importer
