"""Procrastinate on Postgres, with jobs that take a while: `setup JOBS`, then `run`."""

import asyncio
import os
import sys

import procrastinate
from effects import record_effect

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["EFFECTS_URL"]))


@app.task(name="record")
def record(job):
    record_effect(job)


async def setup(jobs):
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for number in range(jobs):
            await record.defer_async(job=number)


async def run():
    async with app.open_async():
        await app.run_worker_async(concurrency=int(sys.argv[2]), install_signal_handlers=False)


if __name__ == "__main__":
    asyncio.run(setup(int(sys.argv[2])) if sys.argv[1] == "setup" else run())
