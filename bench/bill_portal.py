"""A portal that costs as little as can be: a sign-in form, a billing page with one bill, and its PDF of 50 KB.

Written straight on asyncio's protocols, so that what is measured is the visitor and not the portal. Each of the
four answers of an account comes after the same delay. `python -m bench.bill_portal DELAY_SECONDS` prints its port.
"""

import asyncio
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

from settings import PROJECT_ROOT

ANSWERS_PER_ACCOUNT = 4
FORM = b"""<!doctype html><html><head><title>Sign in</title></head><body><h1>Sign in</h1>
<form method="post" action="/login"><label>User <input name="user" autocomplete="username"></label>
<label>Password <input name="pass" type="password"></label><input type="hidden" name="csrf" value="a1b2c3">
<button>Sign in</button></form></body></html>"""
BILLS = """<!doctype html><html><head><title>Bills</title></head><body><h1>Your bills</h1><table>
<tr><th>Invoice number</th><th>Issue date</th><th>Due date</th><th>Amount</th><th>Status</th><th>Document</th></tr>
<tr><td>%(visitor)s-00017</td><td>2026-11-24</td><td>2026-12-08</td><td>12.50 EUR</td><td>Open</td>
<td><a href="/bill/%(visitor)s.pdf">Download</a></td></tr></table><p><a href="/logout">Sign out</a></p></body></html>"""
PDF = b"%PDF-1.4\n" + b"0123456789abcdef" * (50 * 64 - 2) + b"\n%%EOF\n"


class _Visit(asyncio.Protocol):
    """One connection: answers one request after the other."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        if len(body) < length:
            return
        self._received = body[length:]
        answer = _answer(head, body[:length])
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self._transport.write, answer)
        else:
            self._transport.write(answer)


def _answer(head: bytes, body: bytes) -> bytes:
    method, path, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if method == b"POST":
        user = dict(pair.split(b"=", 1) for pair in body.split(b"&"))[b"user"]
        return (
            b"HTTP/1.1 303 See Other\r\nLocation: /bills\r\nSet-Cookie: visitor="
            + user
            + b"; Path=/; HttpOnly\r\nContent-Length: 0\r\n\r\n"
        )
    cookies = next((line for line in head.split(b"\r\n") if line.lower().startswith(b"cookie:")), b"")
    visitor = cookies.partition(b"visitor=")[2].partition(b";")[0]
    if path == b"/bills" and visitor:
        return _page(BILLS.encode() % {b"visitor": visitor})
    if path.startswith(b"/bill/") and visitor:
        # Each account's bill is a file of its own, as it is in life.
        return _with_head(PDF[:-7] + visitor.rjust(32, b" ") + b"\n%%EOF\n", b"application/pdf")
    return _page(FORM)


def _page(body: bytes) -> bytes:
    return _with_head(body, b"text/html; charset=utf-8")


def _with_head(body: bytes, content_type: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (content_type, len(body)) + body


@contextmanager
def bill_portal(delay_seconds: float) -> Generator[str]:
    """Its host and port, while it serves from a process of its own."""
    command = [sys.executable, "-m", "bench.bill_portal", str(delay_seconds)]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


async def _serve(delay: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Visit(delay), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
