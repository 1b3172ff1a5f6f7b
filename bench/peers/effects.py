"""The effect of a peer's job: one row each time that it is executed, committed by itself."""

import os
import threading
import time

try:
    import psycopg2 as driver
except ImportError:
    import psycopg as driver

_local = threading.local()


def record_effect(job):
    """Take as long as told, then insert the row, on a connection of this thread's own."""
    time.sleep(float(os.environ["JOB_SECONDS"]))
    if not hasattr(_local, "connection"):
        _local.connection = driver.connect(os.environ["EFFECTS_URL"])
        _local.connection.autocommit = True
    with _local.connection.cursor() as cursor:
        cursor.execute("INSERT INTO effects (job) VALUES (%s)", (str(job),))
