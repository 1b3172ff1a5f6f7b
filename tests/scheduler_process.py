"""scheduler_service on a test's database, as a process of its own or within this one."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from unittest.mock import patch

import psutil
from sqlalchemy import Engine, text

from portal_import.child import RunOrder
from scheduler_service import supervision
from scheduler_service.service import SchedulerService
from settings import PROJECT_ROOT, Settings
from tests.waiting import wait_until

SECRET_KEY = "a test key of more than thirty-two characters"
DATABASE_PASSWORD = "Right-horse-9"  # the test server asks for none
START_SECONDS = 30
END_SECONDS = 30


@dataclass
class SchedulerProcess:
    """A running scheduler, in a process group of its own as under honcho."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        os.killpg(self.pid, number)

    def wait(self, seconds: float = END_SECONDS) -> int:
        """Its exit code."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(END_SECONDS)

    def read_log(self) -> str:
        return self.log.read_text()

    def list_children(self) -> list[psutil.Process]:
        return list_children(self.pid)


@contextmanager
def scheduler_in_process(
    engine: Engine, home: Path, stub: Callable[[RunOrder, Connection], None], **settings: object
) -> Generator[SchedulerService]:
    """A service in this process, faster to start than one of its own, whose children run `stub`."""
    wanted = {"slots": 2, "drain_seconds": 0, "home": home} | settings
    service = SchedulerService(engine, Settings(**wanted))  # type: ignore[arg-type]
    with patch.object(supervision, "run_in_child", stub):
        service.start()
        try:
            wait_until(lambda: is_ready(engine, os.getpid()), START_SECONDS, "the scheduler")
            yield service
        finally:
            service.stop()


def list_children(pid: int) -> list[psutil.Process]:
    """The processes of a scheduler's runs: what its fork server forked, and what that started."""
    try:
        descendants = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    alive: list[psutil.Process] = []
    for process in descendants:
        try:
            if process.ppid() != pid and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
        except psutil.NoSuchProcess:
            continue
    return alive


def start_scheduler(
    engine: Engine, home: Path, *, stub: str | None = None, module: str = "tests.child_processes", **settings: object
) -> SchedulerProcess:
    """Start one and wait for it; with `stub`, that function of `module` runs instead of an import."""
    scheduler = launch_scheduler(engine, home, stub=stub, module=module, **settings)
    process = scheduler.process
    try:
        wait_until(lambda: process.poll() is not None or is_ready(engine, process.pid), START_SECONDS, "the scheduler")
        assert process.poll() is None, scheduler.read_log()
    except AssertionError:
        scheduler.kill()
        raise
    return scheduler


def launch_scheduler(
    engine: Engine, home: Path, *, stub: str | None = None, module: str = "tests.child_processes", **settings: object
) -> SchedulerProcess:
    """Start one like `start_scheduler`, without waiting for it."""
    command = [sys.executable, "-m", *([module, stub] if stub else ["scheduler_service"])]
    url = engine.url.set(password=DATABASE_PASSWORD)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PUNCTUAL_")} | {
        "DATABASE_URL": url.render_as_string(hide_password=False),
        "PUNCTUAL_HOME": str(home),
        "PUNCTUAL_SECRET_KEY": SECRET_KEY,
        "PUNCTUAL_SLOTS": "2",
        "PYTHONPATH": str(PROJECT_ROOT),
    }
    environment |= {f"PUNCTUAL_{name.upper()}": str(value) for name, value in settings.items()}
    log = home / f"scheduler-{len(list(home.glob('scheduler-*')))}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, cwd=PROJECT_ROOT, stdout=output, stderr=output, start_new_session=True
        )
    return SchedulerProcess(process, log)


def is_ready(engine: Engine, pid: int) -> bool:
    """Whether it has fired once and listens for wake-ups: nothing that follows is done by a first poll."""
    with engine.connect() as connection:
        fired = connection.scalar(text("SELECT last_fire_at FROM scheduler_instances WHERE pid = :pid"), {"pid": pid})
        listening = connection.scalar(
            text(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'punctual listener'"
                " AND datname = current_database() AND query LIKE 'LISTEN%'"
            )
        )
    return fired is not None and bool(listening)
