"""Children that stand in for a real run, and a scheduler that starts them: `python -m tests.child_processes hang`."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing.connection import Connection

from sqlalchemy import create_engine

from db.claims import finish_run
from db.engine import transaction
from db.models import RunStatus
from portal_import.child import RunOrder
from scheduler_service import supervision

CRASH_CODE = 7


def complete(order: RunOrder, parent: Connection) -> None:
    """Does its work in no time."""
    os.setsid()
    with transaction(create_engine(order.database_url)) as session:
        finish_run(session, order.run_id, order.lease_token, RunStatus.COMPLETED, None, datetime.now(UTC))


def complete_in_a_second(order: RunOrder, parent: Connection) -> None:
    """Is done within a drain's grace."""
    os.setsid()
    time.sleep(1)
    with transaction(create_engine(order.database_url)) as session:
        finish_run(session, order.run_id, order.lease_token, RunStatus.COMPLETED, None, datetime.now(UTC))


def hang(order: RunOrder, parent: Connection) -> None:
    """Never ends by itself, but for its parent's end."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent.poll(None)


def hang_stubbornly(order: RunOrder, parent: Connection) -> None:
    """Ignores SIGTERM and has a child of its own, which does too."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["sleep", "300"])
    parent.poll(None)


def hang_before_its_group(order: RunOrder, parent: Connection) -> None:
    """Is slow to start: it has no process group of its own yet, and the fork server's answer to SIGTERM."""
    parent.poll(None)


def crash(order: RunOrder, parent: Connection) -> None:
    """Ends without a result."""
    os.setsid()
    os._exit(CRASH_CODE)


BY_NAME: dict[str, Callable[[RunOrder, Connection], None]] = {
    f.__name__: f for f in (complete, complete_in_a_second, hang, hang_stubbornly, hang_before_its_group, crash)
}


if __name__ == "__main__":
    from scheduler_service.__main__ import main
    from tests import child_processes

    supervision.run_in_child = child_processes.BY_NAME[sys.argv[1]]
    sys.exit(main())
