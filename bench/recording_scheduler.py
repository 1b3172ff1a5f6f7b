"""scheduler_service whose runs only record that they took place: `python -m bench.recording_scheduler`.

The effect is written as an import writes its results: in the transaction that holds the lease. A run takes
JOB_SECONDS before it does. Every child loads this module, so it imports only what the fork server has loaded.
"""

import os
import sys
from datetime import UTC, datetime
from multiprocessing.connection import Connection

from sqlalchemy import create_engine, text

from db.claims import finish_run
from db.engine import transaction
from db.models import RunStatus
from portal_import.child import RunOrder


def record_effect(order: RunOrder, parent: Connection) -> None:
    """The child's work: one row, under the run's lease. It ends with its scheduler, as an import does."""
    os.setsid()
    if parent.poll(float(os.environ["JOB_SECONDS"])):
        return
    with transaction(create_engine(order.database_url)) as session:
        if finish_run(session, order.run_id, order.lease_token, RunStatus.COMPLETED, None, datetime.now(UTC)):
            session.execute(
                text("INSERT INTO effects (job) SELECT session_id FROM import_runs WHERE id = :run"),
                {"run": order.run_id},
            )


if __name__ == "__main__":
    from bench import recording_scheduler
    from scheduler_service import supervision
    from scheduler_service.__main__ import main

    supervision.run_in_child = recording_scheduler.record_effect
    sys.exit(main())
