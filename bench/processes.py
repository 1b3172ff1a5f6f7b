"""Punctual's own processes for benchmarks, on a database of the benchmark's."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
from sqlalchemy import Engine, text

from settings import PROJECT_ROOT

SECRET_KEY = "a key of a benchmark of more than thirty-two characters"  # noqa: S105
DEADLINE_SECONDS = 120
POLL_PAUSE = 0.05


@contextmanager
def punctual_process(engine: Engine, home: Path, *arguments: str, slots: int) -> Generator[psutil.Process]:
    """`python` with these arguments and the settings of the benchmark; it is told to end afterwards."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PUNCTUAL_")} | {
        "DATABASE_URL": engine.url.render_as_string(hide_password=False),
        "PUNCTUAL_HOME": str(home),
        "PUNCTUAL_SECRET_KEY": SECRET_KEY,
        "PUNCTUAL_SLOTS": str(slots),
        "PUNCTUAL_LOG_LEVEL": "WARNING",
    }
    process = subprocess.Popen([sys.executable, *arguments], env=environment, cwd=PROJECT_ROOT)  # noqa: S603
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@contextmanager
def listening_service(engine: Engine, home: Path, *, slots: int) -> Generator[psutil.Process]:
    """A scheduler_service that has fired once and listens."""
    ready = text(
        "SELECT (SELECT bool_or(last_fire_at IS NOT NULL) FROM scheduler_instances) AND EXISTS (SELECT 1 FROM"
        " pg_stat_activity WHERE application_name = 'punctual listener' AND datname = current_database())"
    )

    def is_ready() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(ready))

    with punctual_process(engine, home, "-m", "scheduler_service", slots=slots) as process:
        wait_until(is_ready, "scheduler_service")
        yield process


def wait_until(condition: Callable[[], bool], what: str, seconds: float = DEADLINE_SECONDS) -> None:
    """Ask until it is so. Raises TimeoutError that names what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(POLL_PAUSE)
