"""APScheduler 4 alpha with its SQLAlchemy data store on Postgres: `setup JOBS`, then `run`."""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta

from apscheduler import AsyncScheduler
from apscheduler.datastores.sqlalchemy import SQLAlchemyDataStore
from apscheduler.triggers.interval import IntervalTrigger
from effects import record_effect
from sqlalchemy.ext.asyncio import create_async_engine


def make_scheduler():
    engine = create_async_engine(os.environ["EFFECTS_URL"].replace("postgresql:", "postgresql+psycopg:"))
    lease = timedelta(seconds=float(os.environ["LEASE_SECONDS"]))
    return AsyncScheduler(SQLAlchemyDataStore(engine), lease_duration=lease, cleanup_interval=lease)


async def setup(jobs):
    async with make_scheduler() as scheduler:
        for number in range(jobs):
            due = datetime.now(UTC)
            await scheduler.add_schedule(
                record_effect,
                IntervalTrigger(days=1, start_time=due),
                args=[number],
                id=str(number),
                job_executor="threadpool",
                misfire_grace_time=None,
            )


async def run():
    async with make_scheduler() as scheduler:
        await scheduler.run_until_stopped()


if __name__ == "__main__":
    asyncio.run(setup(int(sys.argv[2])) if sys.argv[1] == "setup" else run())
