"""Where a run's process begins. Cheap to import: the process that starts it names the entry, and loads no more.

All that the run itself needs, `portal_import.run`, is loaded in the fork server; the scheduler never loads it.
"""

import os
import signal
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from uuid import UUID

EXIT_LEASE_LOST = 4
EXIT_PARENT_GONE = 5
EXIT_CUT_SHORT = 6  # asked to end (SIGTERM) before all accounts had their result


@dataclass(frozen=True)
class RunOrder:
    """What the child process is told: which run, under which claim, in which database."""

    run_id: int
    lease_token: UUID
    database_url: str


def run_in_child(order: RunOrder, parent: Connection) -> None:
    """Entry point of the child process; `parent` closes when the supervisor is gone."""
    started_at = datetime.now(UTC)  # first of all: it is what tells how late the run is
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    from portal_import.run import execute_run  # loaded before the fork; at the top, the scheduler would load it too

    def end_with_parent() -> None:
        threading.Thread(target=_exit_with_parent, args=(parent,), name="parent", daemon=True).start()

    end_with_parent()
    execute_run(order, started_at, in_other_processes=end_with_parent)


def _exit_with_parent(parent: Connection) -> None:
    """In a thread, so that nothing the run waits for delays it."""
    parent.poll(None)
    os._exit(EXIT_PARENT_GONE)
