"""APScheduler 3 with its SQLAlchemy job store on Postgres: `setup JOBS`, then `run`."""

import os
import sys
from datetime import UTC, datetime

from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.blocking import BlockingScheduler
from effects import record_effect


def make_store():
    return {"default": SQLAlchemyJobStore(os.environ["EFFECTS_URL"].replace("postgresql:", "postgresql+psycopg2:"))}


def setup(jobs):
    scheduler = BackgroundScheduler(jobstores=make_store(), timezone=UTC)
    scheduler.start(paused=True)
    due_at = datetime.now(UTC)
    for number in range(jobs):
        scheduler.add_job(
            record_effect,
            "interval",
            days=1,
            args=[number],
            id=str(number),
            next_run_time=due_at,
            misfire_grace_time=None,
        )
    os._exit(0)  # shutting down a paused scheduler would fire what is due


if __name__ == "__main__":
    if sys.argv[1] == "setup":
        setup(int(sys.argv[2]))
    else:
        BlockingScheduler(jobstores=make_store(), timezone=UTC).start()
