"""A process that imports accounts as ordered, one line of JSON at a time, and tells how much memory each took.

`python -m tests.hostile.importer`. Beside the hostile portal's account it imports one from a sound portal, at the
same time and in the same event loop: what the hostile one does to it shows there.
"""

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from db.models import LogLevel
from portal_import.engine.http_engine import import_account
from portal_import.engine.storage import DocumentStore
from portal_import.outcomes import AccountLogin, AccountOutcome, Limits, PortalProfile
from tests.portal_server import PASSWORD, USERNAME, OpenGate

MEGABYTE = 1024 * 1024


async def serve() -> None:
    """Carry out the orders of stdin until it ends."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        answer = await carry_out(json.loads(line))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


async def carry_out(order: dict[str, Any]) -> dict[str, Any]:
    """Import from both portals, and report what `tests.hostile.portal.Attack` holds."""
    limits, lines = Limits(**order["limits"]), list[str]()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other_folder:
        reset_peak()
        before = read_status("VmRSS")
        outcome, other = await asyncio.gather(
            run_import(order["url"], limits, folder, lambda _, line: lines.append(line)),
            run_import(order["sound_url"], Limits(), other_folder, lambda _level, _line: None),
        )
        grown = read_status("VmHWM") - before
        files = [path.relative_to(folder) for path in Path(folder).rglob("*") if path.is_file()]
        return {
            "status": outcome.status.value,
            "error": outcome.error,
            "detail": outcome.final_error,
            "retries": outcome.retry_attempts,
            "bills": [[bill.bill_key, [d.file_name for d in bill.documents]] for bill in outcome.bills],
            "lines": lines,
            "files": [str(path) for path in files],
            "stored_bytes": sum((Path(folder) / path).stat().st_size for path in files),
            "other": [other.status.value, len(other.bills)],
            "megabytes": grown / MEGABYTE,
        }


async def run_import(url: str, limits: Limits, folder: str, report: Callable[[LogLevel, str], None]) -> AccountOutcome:
    """One account, without any politeness and without waits before repetitions."""
    login = AccountLogin(USERNAME, PASSWORD, f"{url}/login", f"{url}/billing")
    store = DocumentStore(Path(folder).as_uri())
    return await import_account(login, PortalProfile(), limits, store, report=report, gate=OpenGate(), sleep=at_once)


async def at_once(_seconds: float) -> None:
    """Instead of waiting."""


def reset_peak() -> None:
    """Let VmHWM start anew at what is resident now; see proc(5)."""
    Path("/proc/self/clear_refs").write_text("5")


def read_status(name: str) -> int:
    """A figure of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())
