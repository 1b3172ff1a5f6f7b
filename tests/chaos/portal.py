"""A portal on loopback in a process of its own, which notes every request in a file before it answers it.

Nothing that is killed in a test takes the notes along. `python -m tests.chaos.portal FOLDER` writes its address
to FOLDER/address and its notes to FOLDER/requests.jsonl. While FOLDER/hold or FOLDER/hold-N is there, billing
pages wait, of every sign-in or of an account's N-th one: so a test decides where an import stands.
"""

import asyncio
import hashlib
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from settings import PROJECT_ROOT
from tests.factories import PASSWORD
from tests.portal_server import LOGIN_PAGE, PDF, Request, Route, ScriptedPortal, answer, redirect
from tests.waiting import wait_until

BILLS = ("00017", "00018")
BIG_PAGE_ELEMENTS = 490_000  # just what an import accepts
HOLD_CHECK_SECONDS = 0.02
START_SECONDS = 30


@dataclass(frozen=True)
class PortalRequest:
    """One request as the portal noted it; `at` is in seconds since 1970."""

    at: float
    method: str
    path: str
    username: str


class PortalProcess:
    """The running portal, as a test sees it."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self.url = url
        self.host = url.removeprefix("http://")

    def list_sign_ins(self) -> list[PortalRequest]:
        """Every sign-in that was sent, in order."""
        return [request for request in self._read() if (request.method, request.path) == ("POST", "/login")]

    def count_billing_pages(self) -> int:
        """How many billing pages were asked for; with `hold`, how many imports are in the middle of an account."""
        return sum(request.path == "/billing" for request in self._read())

    def hold(self, sign_in: int | None = None) -> None:
        """Let billing pages wait: all, or those of each account's sign-in of that number."""
        self._flag(sign_in).touch()

    def release(self, sign_in: int | None = None) -> None:
        self._flag(sign_in).unlink()

    def _flag(self, sign_in: int | None) -> Path:
        return self._folder / ("hold" if sign_in is None else f"hold-{sign_in}")

    def _read(self) -> list[PortalRequest]:
        with (self._folder / "requests.jsonl").open() as notes:
            return [PortalRequest(**json.loads(line)) for line in notes if line.endswith("\n")]


@contextmanager
def running_portal(folder: Path) -> Iterator[PortalProcess]:
    """Start the portal with its notes in `folder`; it ends with the block."""
    folder.mkdir()
    with (folder / "portal.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.portal", str(folder)], cwd=PROJECT_ROOT, stdout=output, stderr=output
        )
    try:
        address = folder / "address"
        wait_until(lambda: address.exists() or process.poll() is not None, START_SECONDS, "the portal")
        assert process.poll() is None, (folder / "portal.log").read_text()
        yield PortalProcess(folder, address.read_text())
    finally:
        process.kill()
        process.wait()


def bill_content(username: str, number: str) -> bytes:
    """The document of a bill: different for every account."""
    return PDF + f"{number} of {username}".encode()


def billing_page(username: str) -> str:
    """Two bills with their documents. An account whose name starts with "big" gets one as large as is read."""
    rows = "".join(
        f"<tr><td>{number}</td><td>2026-11-24</td><td>2026-12-08</td><td>7,00 €</td>"
        f'<td><a href="/bills/{number}.pdf">PDF</a></td></tr>'
        for number in BILLS
    )
    padding = "<p>N</p>" * BIG_PAGE_ELEMENTS if username.startswith("big") else ""
    return (
        "<table><tr><th>Invoice number</th><th>Issue date</th><th>Due date</th><th>Amount</th><th></th></tr>"
        + rows
        + f"</table>{padding}"
    )


def make_routes(folder: Path) -> dict[str, Route]:
    """Any account may sign in with the one password; its cookie tells who it is and its how many-th sign-in."""
    notes = (folder / "requests.jsonl").open("ab", buffering=0)
    sign_ins: Counter[str] = Counter()

    def note(request: Request, username: str) -> None:
        line = {"at": time.time(), "method": request.method, "path": request.path, "username": username}
        notes.write(json.dumps(line).encode() + b"\n")

    def show_login(request: Request) -> bytes:
        note(request, "")
        return answer(LOGIN_PAGE.format(visitor="v", alert=""))

    def sign_in(request: Request) -> bytes:
        username = request.form["email"]
        note(request, username)
        if request.form["pass"] != PASSWORD:
            return answer(LOGIN_PAGE.format(visitor="v", alert='<p role="alert">The password is not correct.</p>'))
        sign_ins[username] += 1
        session = f"{username.encode().hex()}.{sign_ins[username]}"
        return redirect("/home", Set_Cookie=f"session={session}; Path=/")

    def show_home(request: Request) -> bytes:
        note(request, read_session(request)[0])
        return answer("<h1>Hello</h1>")

    async def show_billing(request: Request, _: asyncio.StreamWriter) -> bytes:
        username, number = read_session(request)
        note(request, username)
        while (folder / "hold").exists() or (folder / f"hold-{number}").exists():
            await asyncio.sleep(HOLD_CHECK_SECONDS)
        return answer(billing_page(username)) if username else redirect("/login", 302)

    def send_bill(number: str) -> Callable[[Request], bytes]:
        def send(request: Request) -> bytes:
            username, _ = read_session(request)
            note(request, username)
            return answer(bill_content(username, number), content_type="application/pdf")

        return send

    return {
        "GET /login": show_login,
        "POST /login": sign_in,
        "GET /home": show_home,
        "GET /billing": show_billing,
        **{f"GET /bills/{number}.pdf": send_bill(number) for number in BILLS},
    }


def read_session(request: Request) -> tuple[str, int]:
    """Who asks, and by which of their sign-ins; nobody is ("", 0)."""
    found = re.fullmatch(r"([0-9a-f]+)\.(\d+)", request.cookies.get("session", ""))
    return (bytes.fromhex(found[1]).decode(), int(found[2])) if found else ("", 0)


def sha256_of_bill(username: str, number: str) -> str:
    return hashlib.sha256(bill_content(username, number)).hexdigest()


async def serve(folder: Path) -> None:
    async with ScriptedPortal(make_routes(folder)) as portal:
        unfinished = folder / "address.new"
        unfinished.write_text(portal.url)
        unfinished.replace(folder / "address")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
