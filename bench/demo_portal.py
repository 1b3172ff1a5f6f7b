"""The demo portal with as many customers as a benchmark wants: those of `bench.import_job`, with one bill each.

Their documents are made before it answers: making a PDF takes longer than all that an import does with it.
`python -m bench.demo_portal DELAY_SECONDS ACCOUNTS` prints its port.
"""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from socket import create_server

import uvicorn

import demo.app
from demo.accounts import ACCOUNTS, ACCOUNTS_BY_USERNAME, Account
from demo.bills import list_bills
from demo.documents import list_kinds, make_document
from settings import PROJECT_ROOT

ANSWERS_PER_ACCOUNT = 6  # form, sign-in, account, bills, PDF, CSV


@contextmanager
def demo_portal(delay_seconds: float, accounts: int) -> Generator[str]:
    """Its host and port, while it serves from a process of its own."""
    command = [sys.executable, "-m", "bench.demo_portal", str(delay_seconds), str(accounts)]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def _serve(delay_seconds: float, accounts: int) -> None:
    make_once = lru_cache(maxsize=None)(make_document.__wrapped__)
    demo.app.make_document = make_once  # pyright: ignore[reportAttributeAccessIssue]
    today = datetime.now().astimezone().date()
    for number in range(accounts):
        account = _make_account(number)
        ACCOUNTS_BY_USERNAME[account.username] = account
        for bill in list_bills(account, today):
            for kind in list_kinds(account):
                make_once(bill, kind)
    app = demo.app.build_app(today, latency_ms=round(delay_seconds * 1000))
    listener = create_server(("127.0.0.1", 0), backlog=2048)
    print(listener.getsockname()[1], flush=True)  # noqa: T201
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])


def _make_account(number: int) -> Account:
    name = f"user{number:05}"
    return replace(
        ACCOUNTS[0], username=name, password=f"secret-{name}", customer_number=f"{number:08}", bills_online=1
    )


if __name__ == "__main__":
    _serve(float(sys.argv[1]), int(sys.argv[2]))
