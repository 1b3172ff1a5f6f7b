"""Schedulers killed with SIGKILL while they fire and run: nothing is lost, nothing is done twice.

Smaller here than in `make chaos`, which kills for a minute under 2,000 occurrences that are all imported.
"""

import signal

from db.models import RunStatus
from tests.chaos.scenarios import kill_one_of_three_again_and_again
from tests.chaos.stage import Stage
from tests.chaos.witness import slow_down_firing
from tests.waiting import wait_until

SOON = 30
DUE_AT_ONCE = 5_000  # two schedulers take 2,000 of them at once, in two lanes each
SLOTS = 20
FIRING_SECONDS_A_RUN = 0.002


def test_one_of_three_schedulers_is_killed_every_second(stage: Stage) -> None:
    findings = kill_one_of_three_again_and_again(stage, occurrences=120, kills=6, seconds=90)
    assert findings.ended == 120
    assert findings.interrupted > 0
    # Every account has its bills; as each run has one account, each that was cut short had a retry of its own.
    assert findings.without_success == 0
    assert findings.retries == findings.cut_short <= findings.interrupted


def test_two_schedulers_killed_while_they_fire_5000_jobs(stage: Stage) -> None:
    stage.add_due_jobs(DUE_AT_ONCE)
    slow_down_firing(stage.engine, FIRING_SECONDS_A_RUN)
    fired = 0
    for _ in range(2):
        pair = [stage.launch(slots=0) for _ in range(2)]
        before = fired
        fired = wait_until(lambda before=before: count if (count := count_runs(stage)) > before else 0, SOON, "firing")
        for scheduler in pair:
            scheduler.send(signal.SIGKILL)
        fired = count_runs(stage)
        assert fired < DUE_AT_ONCE, "they were killed too late"
    for _ in range(2):
        stage.launch(slots=0)
    wait_until(lambda: count_runs(stage) >= DUE_AT_ONCE and stage.query(DUE) == 0, SOON, "the rest to be fired")
    findings = stage.check(may_be_live=True)
    assert (findings.lost, findings.doubled, findings.live) == (0, 0, DUE_AT_ONCE)


def test_twenty_running_jobs_of_a_killed_scheduler_are_recovered_and_finished(stage: Stage) -> None:
    stage.portal.hold()
    jobs = stage.run_now(SLOTS, accounts=3)
    victim = stage.start(slots=SLOTS)
    wait_until(lambda: stage.portal.count_billing_pages() == 3 * SLOTS, SOON, "every account to be begun")
    victim.send(signal.SIGKILL)
    stage.portal.release()
    stage.start(slots=SLOTS)
    stage.wait_for_ends()
    findings = stage.check()
    assert {stage.get_run(job_id).status for job_id in jobs} == {RunStatus.FAILED}
    assert {stage.wait_for_retry(job_id).accounts_done for job_id in jobs} == {3}
    assert (findings.ended, findings.interrupted, findings.retries) == (SLOTS, SLOTS, SLOTS)
    assert (findings.cut_short, findings.sign_ins, findings.without_success) == (3 * SLOTS, 6 * SLOTS, 0)


DUE = "SELECT count(*) FROM import_sessions WHERE is_scheduled AND next_run <= now()"


def count_runs(stage: Stage) -> int:
    return stage.query("SELECT count(*) FROM import_runs")
