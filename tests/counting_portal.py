"""A scripted portal that counts what import processes send to it, and can keep one of them waiting."""

import asyncio
import threading
import time
from collections import Counter

from tests.factories import PASSWORD
from tests.portal_server import Request, Route, ScriptedPortal, ordinary_routes
from tests.waiting import wait_until

WAIT_SECONDS = 60
NAMES = [f"person{n}@example.com" for n in range(16)]


class CountingPortal(ScriptedPortal):
    """Has an account for each of the names, and knows when each request came."""

    def __init__(self) -> None:
        super().__init__(ordinary_routes(**dict.fromkeys([name.split("@")[0] for name in NAMES], PASSWORD)))
        self.arrivals: list[float] = []

    @property
    def sign_ins(self) -> Counter[str]:
        """How often each account's password was sent."""
        return Counter(r.form["email"] for r in list(self.requests) if (r.method, r.path) == ("POST", "/login"))

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self.arrivals.append(time.time())
        await super()._answer(request, writer)

    def hold(self, route: str) -> threading.Event:
        """Keep the next request of this route waiting for its answer, until the event is set."""
        usual, release = self.routes[route], threading.Event()

        async def wait_first(request: Request, writer: asyncio.StreamWriter) -> bytes | None:
            self.routes[route] = usual
            await asyncio.to_thread(release.wait, WAIT_SECONDS)
            return await _ask(usual, request)

        self.routes[route] = wait_first
        return release

    def hold_all(self, route: str) -> threading.Event:
        """Keep all requests of this route waiting, until the event is set."""
        usual, release = self.routes[route], threading.Event()

        async def wait(request: Request, writer: asyncio.StreamWriter) -> bytes | None:
            await asyncio.to_thread(release.wait, WAIT_SECONDS)
            return await _ask(usual, request)

        self.routes[route] = wait
        return release

    def wait_for(self, method: str, path: str, count: int = 1) -> None:
        wait_until(lambda: self.count(method, path) >= count, WAIT_SECONDS, f"{method} {path}")


async def _ask(route: Route, request: Request) -> bytes:
    assert callable(route)
    made = route(request)  # type: ignore[call-arg]
    assert isinstance(made, bytes)
    return made
