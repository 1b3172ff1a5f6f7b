"""Schedulers with a fault built in: `python -m tests.chaos.faulty_scheduler NAME`, otherwise scheduler_service itself.

Some have children that fail in a certain way while they do a real import; one has no polls; one has a clock that
can be stepped from outside.
"""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from multiprocessing.connection import Connection
from pathlib import Path
from uuid import UUID, uuid4

import psutil

from portal_import.child import RunOrder, run_in_child

MEMORY_BEYOND_THE_START = 192 * 1024 * 1024  # enough for an ordinary page, not for one of the largest
DISK_FULL_FLAG = "disk-is-full"
CLOCK_FILE = "clock-offset-seconds"
NEVER_SECONDS = 10**6
STEPPED_PACKAGES = ("apscheduler", "scheduler_service", "portal_import", "db")


def import_with_little_memory(order: RunOrder, parent: Connection) -> None:
    """An import that runs out of memory at a large page."""
    limit = psutil.Process().memory_info().vms + MEMORY_BEYOND_THE_START
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    run_in_child(order, parent)


def import_on_full_disk(order: RunOrder, parent: Connection) -> None:
    """An import whose half files lead to /dev/full while a test says so: the kernel's own "no space left"."""
    from portal_import.engine import storage

    home = Path(os.environ["PUNCTUAL_HOME"])
    if (home / DISK_FULL_FLAG).exists():
        folder = home / "bills" / storage.UNFINISHED_FOLDER
        folder.mkdir(parents=True, exist_ok=True)

        def name_of_full_file() -> UUID:
            name = uuid4()
            (folder / name.hex).symlink_to("/dev/full")
            return name

        storage.uuid4 = name_of_full_file
    run_in_child(order, parent)


def import_with_children_of_its_own(order: RunOrder, parent: Connection) -> None:
    """An import that starts two processes, one of which ignores SIGTERM; both would live for five minutes."""
    os.setpgid(0, 0)  # the group that they are born into
    os.setsid = lambda: None  # type: ignore[assignment]  # it is there already
    subprocess.Popen(["sleep", "300"])
    subprocess.Popen(["sleep", "300"], preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))
    run_in_child(order, parent)


def import_by_stepped_clock(order: RunOrder, parent: Connection) -> None:
    """An import in a process whose clock follows CLOCK_FILE."""
    import portal_import.run  # noqa: F401  # so that its clock is stepped too

    step_clock()
    run_in_child(order, parent)


class _LooksLikeDatetime(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, datetime)


class SteppedDatetime(datetime, metaclass=_LooksLikeDatetime):
    """`datetime`, whose now() is as wrong as CLOCK_FILE says."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        offset = (Path(os.environ["PUNCTUAL_HOME"]) / CLOCK_FILE).read_text()
        return datetime.now(tz) + timedelta(seconds=float(offset))


def step_clock() -> None:
    """From now on all code of this process that asks for the wall clock gets the stepped one."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in STEPPED_PACKAGES and getattr(module, "datetime", None) is datetime:
            module.datetime = SteppedDatetime  # type: ignore[attr-defined]


def stop_polls() -> None:
    """Only wake-ups make this scheduler do anything; its leases are renewed as ever."""
    from scheduler_service import service

    for poll in ("FIRE_POLL_SECONDS", "CLAIM_POLL_SECONDS", "RECOVER_SECONDS"):
        setattr(service, poll, NEVER_SECONDS)


CHILDREN: dict[str, Callable[[RunOrder, Connection], None]] = {
    child.__name__: child
    for child in (
        import_with_little_memory,
        import_on_full_disk,
        import_with_children_of_its_own,
        import_by_stepped_clock,
    )
}


def main() -> int:
    from scheduler_service import service, supervision
    from scheduler_service.__main__ import main as serve
    from tests.chaos import faulty_scheduler

    name = sys.argv[1]
    if name == "without_polls":
        stop_polls()
    else:
        supervision.run_in_child = faulty_scheduler.CHILDREN[name]
    if name == "import_by_stepped_clock":
        faulty_scheduler.step_clock()
    assert service is not None
    return serve()


if __name__ == "__main__":
    sys.exit(main())
