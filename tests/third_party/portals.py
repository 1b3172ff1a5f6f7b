"""Who has bills at the portals that others wrote, and how such a portal is started."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from settings import PROJECT_ROOT

PEOPLE = ("anna", "ben", "carla")


def password_of(name: str) -> str:
    """Made up."""
    return f"Made-up-{name}-7"


def make_bill(name: str) -> bytes:
    """A PDF by its first bytes; of its own for each person."""
    return b"%PDF-1.4\n" + name.encode() * 5_000 + b"\n%%EOF\n"


@contextmanager
def started(module: str, folder: Path) -> Generator[str]:
    """Its address, while it serves from a process of its own."""
    command = [sys.executable, "-m", f"tests.third_party.{module}", str(folder)]
    with (
        (folder.parent / f"{module}.log").open("wb") as log,
        subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip()
            assert port, f"{module} did not start; see {log.name}"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
