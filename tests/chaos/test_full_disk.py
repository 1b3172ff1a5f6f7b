"""No space left for bills: the run fails with that reason, and the service lives on."""

from db.models import RunStatus
from tests.chaos.faulty_scheduler import DISK_FULL_FLAG
from tests.chaos.stage import Stage

REASON = "the storage could not be written: no space left on device"


def test_full_disk_fails_the_run_with_that_reason_and_nothing_else(stage: Stage) -> None:
    full = stage.home / DISK_FULL_FLAG
    full.touch()
    scheduler = stage.start(stub="import_on_full_disk")
    (job_id,) = stage.run_now(accounts=2, max_attempts=1)
    run = stage.wait_for_status(job_id, RunStatus.FAILED, RunStatus.COMPLETED)
    assert (run.status, run.attempt) == (RunStatus.FAILED, 1)
    assert run.reason == f"2 accounts that failed on this side ({REASON})"
    assert stage.query("SELECT array_agg(DISTINCT error) FROM import_results") == [REASON]

    full.unlink()
    (next_job,) = stage.run_now(accounts=2)
    stage.wait_for_status(next_job, RunStatus.COMPLETED)
    assert scheduler.process.poll() is None
    findings = stage.check()
    assert (findings.results, findings.sign_ins) == (4, 4)
