"""Children of a real scheduler that are killed, starve, hang, ignore signals or start processes of their own."""

import psutil
from sqlalchemy import update

from db.engine import transaction
from db.models import Portal, ResultStatus, RunStatus
from portal_import.portal_gate import SIGNED_IN_BEFORE
from tests.chaos.stage import Stage
from tests.scheduler_process import SchedulerProcess
from tests.waiting import wait_until

SOON = 60
STUB_CHILDREN = "tests.child_processes"


def test_killed_child_is_replaced_and_a_retry_repeats_only_what_it_had_begun(stage: Stage) -> None:
    with transaction(stage.engine) as session:
        session.execute(update(Portal).values(max_concurrent_accounts=3))
    stage.portal.hold(1)
    scheduler = stage.start()
    (job_id,) = stage.run_now(accounts=5)
    wait_until(lambda: stage.portal.count_billing_pages() == 3, SOON, "three accounts to be begun")
    (child,) = scheduler.list_children()
    child.kill()
    stage.portal.release(1)
    run = stage.wait_for_status(job_id, RunStatus.PARTIAL)
    retry = stage.wait_for_retry(job_id)
    assert "was killed (SIGKILL)" in stage.read_log(job_id)
    begun = [(row, ResultStatus.FAILED, SIGNED_IN_BEFORE) for row in (2, 3, 4)]
    assert stage.list_endings(run) == [*begun, *[(row, ResultStatus.SUCCESS, None) for row in (5, 6)]]
    assert stage.list_endings(retry) == [(row, ResultStatus.SUCCESS, None) for row in (2, 3, 4)]
    findings = stage.check()
    assert (findings.interrupted, findings.sign_ins, findings.without_success) == (1, 5 + 3, 0)


def test_child_out_of_memory_fails_its_run_and_no_other(stage: Stage) -> None:
    scheduler = stage.start(stub="import_with_little_memory")
    (big,) = stage.run_now(name="big", max_attempts=1)
    (ordinary,) = stage.run_now()
    run = stage.wait_for_status(big, RunStatus.FAILED, RunStatus.COMPLETED)
    assert run.status == RunStatus.FAILED
    assert run.reason == "1 account that failed on this side (the import failed unexpectedly (MemoryError))"
    stage.wait_for_status(ordinary, RunStatus.COMPLETED)
    assert scheduler.process.poll() is None
    stage.check()


def test_hanging_child_is_ended_when_its_time_is_up(stage: Stage) -> None:
    stage.portal.hold(1)
    scheduler = stage.start()
    (job_id,) = stage.run_now(timeout_seconds=2, max_attempts=1)
    run = stage.wait_for_status(job_id, RunStatus.TIMED_OUT)
    assert run.reason == "not done within 2 seconds"
    assert_works_on(stage, scheduler)


def test_child_that_ignores_sigterm_is_ended_with_its_own_child(stage: Stage) -> None:
    scheduler = stage.start(module=STUB_CHILDREN, stub="hang_stubbornly")
    (job_id,) = stage.run_now(timeout_seconds=2, max_attempts=1)
    family = wait_until(lambda: f if len(f := scheduler.list_children()) == 2 else None, SOON, "child and grandchild")
    stage.wait_for_status(job_id, RunStatus.TIMED_OUT)
    assert psutil.wait_procs(family, timeout=SOON)[1] == []
    stage.check()


def test_processes_that_a_child_started_end_with_it(stage: Stage) -> None:
    stage.portal.hold(1)
    scheduler = stage.start(stub="import_with_children_of_its_own")
    (job_id,) = stage.run_now()
    wait_until(lambda: stage.portal.count_billing_pages() == 1, SOON, "the import to be in the middle")
    family = scheduler.list_children()
    assert [process.name() for process in family].count("sleep") == 2
    stage.portal.release(1)
    stage.wait_for_status(job_id, RunStatus.COMPLETED)
    assert psutil.wait_procs(family, timeout=SOON)[1] == []
    stage.check()


def assert_works_on(stage: Stage, scheduler: SchedulerProcess) -> None:
    """The same scheduler does the next run, and no child of the last one is left."""
    wait_until(lambda: not scheduler.list_children(), SOON, "the child's end")
    stage.portal.release(1)
    (job_id,) = stage.run_now()
    stage.wait_for_status(job_id, RunStatus.COMPLETED)
    assert scheduler.process.poll() is None
    statuses = stage.query("SELECT array_agg(status) FROM import_results")
    assert statuses == [ResultStatus.SUCCESS]
    stage.check()
