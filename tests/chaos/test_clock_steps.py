"""The wall clock of a scheduler is stepped an hour forth and back: nothing runs twice, nothing waits for an hour."""

from datetime import UTC, datetime, timedelta

from db.models import RunStatus
from tests.chaos.faulty_scheduler import CLOCK_FILE
from tests.chaos.stage import Stage
from tests.waiting import wait_until

SOON = 60
HOUR = 3600


def test_clock_stepped_an_hour_forth_and_back(stage: Stage) -> None:
    step(stage, 0)
    stage.start(stub="import_by_stepped_clock", slots=6, lease_seconds=10)
    done = stage.add_due_jobs(2)
    for job_id in done:
        wait_until(lambda job_id=job_id: stage.count_runs_of(job_id), SOON, "the first occurrences to be fired")
        stage.wait_for_status(job_id, RunStatus.COMPLETED, seconds=SOON)
    stage.portal.hold()
    (held,) = stage.run_now()
    wait_until(lambda: stage.portal.count_billing_pages() == 3, SOON, "an import to be in the middle")

    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    step(stage, HOUR)
    ahead = stage.add_due_jobs(2, at=minute + timedelta(minutes=30), is_silent=True)
    wait_for_firing(stage, ahead)
    for job_id in ahead:  # queued an hour ahead, they would wait for it if the clock went back before their claim
        stage.wait_for_status(job_id, RunStatus.RUNNING, seconds=SOON)
    step(stage, 0)
    wait_for_firing(stage, stage.add_due_jobs(2, is_silent=True))
    step(stage, -HOUR)
    wait_for_firing(stage, stage.add_due_jobs(2, at=minute - timedelta(minutes=61), is_silent=True))
    lease_until = stage.query("SELECT min(lease_until) FROM import_runs")
    wait_until(lambda: stage.query("SELECT min(lease_until) FROM import_runs") != lease_until, SOON, "a renewed lease")
    step(stage, 0)
    stage.portal.release()
    stage.wait_for_ends()
    assert stage.get_run(held).status == RunStatus.COMPLETED
    findings = stage.check()
    assert (findings.lost, findings.doubled, findings.ended) == (0, 0, 9)


def step(stage: Stage, seconds: float) -> None:
    """Set the scheduler's clock so far from the machine's."""
    unfinished = stage.home / f"{CLOCK_FILE}.new"
    unfinished.write_text(str(seconds))
    unfinished.replace(stage.home / CLOCK_FILE)


def wait_for_firing(stage: Stage, jobs: list[str]) -> None:
    wait_until(lambda: all(stage.count_runs_of(job_id) for job_id in jobs), SOON, "what is due by that clock")
