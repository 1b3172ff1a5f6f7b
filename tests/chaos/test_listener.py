"""The connection that wake-ups come over is cut: they come again, and polls do their work meanwhile."""

import psutil

from db.models import RunStatus
from tests.chaos.stage import Stage
from tests.waiting import wait_until

SOON = 60
POLLS = 75  # the slowest of them looks for due schedules every 30 s
LISTENER = (
    "FROM pg_stat_activity WHERE application_name = 'punctual listener' AND datname = current_database()"
    " AND query LIKE 'LISTEN%'"
)


def test_wake_ups_resume_after_the_connection_was_cut(stage: Stage) -> None:
    """The scheduler has no polls, so whatever it does afterwards, a wake-up told it."""
    scheduler = stage.start(stub="without_polls")
    for _ in range(3):
        cut_listener(stage)
        (job_id,) = stage.run_now()
        stage.wait_for_status(job_id, RunStatus.COMPLETED, seconds=SOON)
        (due,) = stage.add_due_jobs(1)
        wait_until(lambda due=due: stage.count_runs_of(due), SOON, "the schedule to be fired")
        stage.wait_for_status(due, RunStatus.COMPLETED, seconds=SOON)
    assert scheduler.read_log().count("wake-ups interrupted") == 3
    stage.check()


def test_polls_find_what_no_wake_up_told(stage: Stage) -> None:
    """Wake-ups that were sent while nobody listened are gone; here they are not even sent."""
    scheduler = stage.start()
    cut_listener(stage)
    (due,) = stage.add_due_jobs(1, is_silent=True)
    wait_until(lambda: stage.count_runs_of(due), POLLS, "the schedule to be fired by a poll")
    (job_id,) = stage.run_now(is_silent=True)
    for each in (due, job_id):
        stage.wait_for_status(each, RunStatus.COMPLETED, seconds=SOON)
    assert psutil.Process(scheduler.pid).is_running()
    stage.check()


def cut_listener(stage: Stage) -> None:
    """End the listener's connection on the server; returns once there is a new one."""
    old = stage.query(f"SELECT pid {LISTENER}")
    assert stage.query("SELECT pg_terminate_backend(:old)", old=old)
    wait_until(
        lambda: stage.query(f"SELECT count(*) {LISTENER} AND pid <> :old", old=old), SOON, "a new listening connection"
    )
