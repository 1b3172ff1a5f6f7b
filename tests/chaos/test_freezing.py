"""A scheduler that is frozen past its lease and wakes up again: what it writes then is refused."""

import signal
from contextlib import suppress

import psutil

from db.models import ResultStatus, RunStatus
from portal_import.portal_gate import SIGNED_IN_BEFORE
from tests.chaos.stage import Stage
from tests.waiting import wait_until

SOON = 60
CUT_SHORT = [(2, ResultStatus.FAILED, SIGNED_IN_BEFORE)]
IMPORTED = [(2, ResultStatus.SUCCESS, None)]


def test_late_result_of_a_frozen_scheduler_is_refused(stage: Stage) -> None:
    for sign_in in (1, 2):
        stage.portal.hold(sign_in)
    frozen = stage.start(slots=1)
    (job_id,) = stage.run_now()
    wait_until(lambda: stage.portal.count_billing_pages() == 1, SOON, "the first import to be in the middle")
    (child,) = frozen.list_children()
    family = [*psutil.Process(frozen.pid).children(recursive=True), psutil.Process(frozen.pid)]
    for process in family:
        process.suspend()

    stage.start(slots=1)
    wait_until(lambda: stage.portal.count_billing_pages() == 2, SOON, "another scheduler to retry")
    stage.portal.release(1)
    child.send_signal(signal.SIGCONT)  # alone, so that nobody ends it before it writes
    wait_until(lambda: "the claim was lost" in frozen.read_log(), SOON, "the late result to be refused")
    run = stage.get_run(job_id)
    retry = stage.wait_for_retry(job_id, RunStatus.RUNNING)
    assert (run.status, run.attempt, stage.list_endings(run)) == (RunStatus.FAILED, 2, CUT_SHORT)
    assert (retry.accounts_done, stage.list_endings(retry)) == (0, [])

    for process in family:
        if process != child:
            process.resume()
    stage.portal.release(2)
    assert stage.list_endings(stage.wait_for_retry(job_id)) == IMPORTED
    assert stage.list_endings(run) == CUT_SHORT
    wait_until(lambda: not frozen.list_children(), SOON, "the late child's end")
    findings = stage.check()
    assert (findings.interrupted, findings.sign_ins, findings.without_success) == (1, 2, 0)


def test_frozen_scheduler_that_wakes_up_with_its_child_ends_it_and_works_on(stage: Stage) -> None:
    stage.portal.hold(1)
    frozen = stage.start(slots=1)
    (job_id,) = stage.run_now()
    wait_until(lambda: stage.portal.count_billing_pages() == 1, SOON, "the first import to be in the middle")
    (child,) = frozen.list_children()
    family = [psutil.Process(frozen.pid), *psutil.Process(frozen.pid).children(recursive=True)]
    for process in family:
        process.suspend()

    other = stage.start(slots=1)
    run = stage.wait_for_status(job_id, RunStatus.FAILED)
    retry = stage.wait_for_retry(job_id)
    for process in family:
        with suppress(psutil.NoSuchProcess):  # the scheduler, awake again, may have ended its child already
            process.resume()
    psutil.wait_procs([child], timeout=SOON)
    stage.portal.release(1)
    other.send(signal.SIGKILL)
    (next_job,) = stage.run_now()
    stage.wait_for_status(next_job, RunStatus.COMPLETED)
    assert (stage.list_endings(run), stage.list_endings(retry)) == (CUT_SHORT, IMPORTED)
    findings = stage.check()
    assert (findings.interrupted, findings.sign_ins, findings.without_success) == (1, 2 + 1, 0)
