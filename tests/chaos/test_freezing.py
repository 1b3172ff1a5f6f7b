"""A scheduler that is frozen past its lease and wakes up again: what it writes then is refused."""

import signal

import psutil

from db.models import RunStatus
from tests.chaos.stage import Stage
from tests.waiting import wait_until

SOON = 60


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
    wait_until(lambda: stage.portal.count_billing_pages() == 2, SOON, "another scheduler to take over")
    stage.portal.release(1)
    child.send_signal(signal.SIGCONT)  # alone, so that nobody ends it before it writes
    wait_until(lambda: "the claim was lost" in frozen.read_log(), SOON, "the late result to be refused")
    run = stage.get_run(job_id)
    assert (run.status, run.attempt, run.accounts_done) == (RunStatus.RUNNING, 2, 0)
    assert stage.query("SELECT count(*) FROM import_results") == 0

    for process in family:
        if process != child:
            process.resume()
    stage.portal.release(2)
    stage.wait_for_status(job_id, RunStatus.COMPLETED)
    wait_until(lambda: not frozen.list_children(), SOON, "the late child's end")
    findings = stage.check()
    assert (findings.interrupted, findings.repeated_sign_ins, findings.results) == (1, 1, 1)


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
    stage.wait_for_status(job_id, RunStatus.COMPLETED)
    for process in family:
        process.resume()
    psutil.wait_procs([child], timeout=SOON)
    stage.portal.release(1)
    other.send(signal.SIGKILL)
    (next_job,) = stage.run_now()
    stage.wait_for_status(next_job, RunStatus.COMPLETED)
    findings = stage.check()
    assert (findings.interrupted, findings.results) == (1, 2)
