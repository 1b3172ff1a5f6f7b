"""Retries: which accounts are tried again, when, by which run, and what becomes of the job meanwhile."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.accounts import list_accounts_by_id, list_unfinished_account_ids
from db.claiming import Claim
from db.claims import finish_run, recover_runs, requeue_run
from db.engine import transaction
from db.errors import ConflictError, NotAllowedError, NotFoundError
from db.firing import fire_due_jobs
from db.jobs import delete_job, pause_job
from db.ledger import draw_up_ledger
from db.models import (
    RETRYABLE_RESULTS,
    Account,
    Cause,
    Job,
    JobStatus,
    Priority,
    Result,
    ResultStatus,
    Role,
    Run,
    RunStatus,
    RunTrigger,
)
from db.results import ResultRecord, record_results
from db.retries import retry_delay
from db.retry_requests import cancel_retry, request_retry
from db.runs import request_run, request_stop
from db.viewers import Viewer
from tests.claimed_runs import claim
from tests.factories import EVERY_MINUTE, NOW, make_account, make_job, make_portal, make_run, make_viewer

LEASE = timedelta(seconds=30)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
Results = Mapping[str, ResultStatus]
OK, PORTAL_ERROR, WRONG = ResultStatus.SUCCESS, ResultStatus.PORTAL_ERROR, ResultStatus.WRONG_CREDENTIALS
SOME_FAILED = {"ann": OK, "bob": PORTAL_ERROR, "cyd": PORTAL_ERROR}


@pytest.fixture
def olive(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session)


def add_job(engine: Engine, olive: Viewer, *names: str, **columns: object) -> str:
    """A job with an account of each name."""
    with transaction(engine) as session:
        job = make_job(session, olive, accounts=0, **columns)  # type: ignore[arg-type]
        job.accounts_count = len(names)
        for row_number, name in enumerate(names, start=2):
            make_account(session, job, name, row_number)
        return job.id


def start(session: Session, run_id: int, seconds: float = 0) -> Claim:
    (claimed,) = claim(session, slots=5, seconds=seconds)
    assert claimed.run_id == run_id
    return claimed


def record(session: Session, held: Claim, results: Results) -> None:
    for name, status in results.items():
        mine = (Account.session_id == held.session_id, Account.username == name)
        account = session.scalars(select(Account).where(*mine)).one()
        row = ResultRecord(account.id, name, account.row_number, status, NOW, None if status == OK else "x")
        record_results(session, held.run_id, held.lease_token, [row], NOW)


def run_through(
    engine: Engine, run_id: int, results: Results, outcome: RunStatus = RunStatus.PARTIAL, *, seconds: float = 0
) -> None:
    """Take a queued run, record what it brought, and end it."""
    with transaction(engine) as session:
        held = start(session, run_id, seconds)
        record(session, held, results)
        finish_run(session, run_id, held.lease_token, outcome, None, NOW + seconds * SECOND)


def ended_run(engine: Engine, job_id: str, results: Results, outcome: RunStatus = RunStatus.PARTIAL) -> int:
    """A run that somebody asked for and that ended so."""
    with transaction(engine) as session:
        run_id = make_run(session, session.get_one(Job, job_id)).id
    run_through(engine, run_id, results, outcome)
    return run_id


def list_retries(engine: Engine, run_id: int) -> list[Run]:
    with transaction(engine) as session:
        runs = list(session.scalars(select(Run).where(Run.parent_run_id == run_id).order_by(Run.id)))
        for run in runs:
            _ = run.account_ids
        return runs


def only_retry(engine: Engine, run_id: int) -> Run:
    (retry,) = list_retries(engine, run_id)
    return retry


def covered(engine: Engine, run: Run) -> list[str]:
    with transaction(engine) as session:
        ids = list_unfinished_account_ids(session, session.get_one(Run, run.id))
        return [a.username for a in list_accounts_by_id(session, ids)]


def get_run(engine: Engine, run_id: int) -> Run:
    with transaction(engine) as session:
        return session.get_one(Run, run_id)


def get_job(engine: Engine, job_id: str) -> Job:
    with transaction(engine) as session:
        return session.get_one(Job, job_id)


# How long to rest


def test_rest_doubles_and_is_a_fifth_more_or_less() -> None:
    # 60 s, 2654435769 / 2**32 = 0.6180339886...: run 1 rests 60 × (0.8 + 0.4 × 0.618…) s
    assert retry_delay(60, 1, 1) == timedelta(microseconds=62832816)
    assert [retry_delay(60, n, 1).total_seconds() / 62.832816 for n in (1, 2, 3, 4)] == pytest.approx([1, 2, 4, 8])
    assert retry_delay(60, 1, 0) == timedelta(seconds=48)


def test_rest_is_bounded() -> None:
    for attempt in (10, 19, 20):
        rests = [retry_delay(3600, attempt, run_id) for run_id in range(1, 1000)]
        assert min(rests) >= 0.8 * 6 * HOUR
        assert max(rests) <= 1.2 * 6 * HOUR
    assert retry_delay(0, 5, 7) == timedelta(0)


def test_runs_that_failed_together_do_not_come_back_together() -> None:
    for first in (1, 10**6, 10**12):
        rests = sorted(retry_delay(1000, 1, first + n).total_seconds() for n in range(200))
        gaps = [later - earlier for earlier, later in pairwise(rests)]
        assert min(gaps) > 0.5  # 400 s for 200 runs: 2 s each, were they perfectly even
        assert max(gaps) < 6
        assert rests[0] < 806
        assert rests[-1] > 1194


# Which accounts are tried again


@pytest.mark.parametrize("status", list(ResultStatus))
def test_only_what_may_pass_by_itself_is_tried_again(engine: Engine, olive: Viewer, status: ResultStatus) -> None:
    job_id = add_job(engine, olive, "ann", "bob")
    run_id = ended_run(engine, job_id, {"ann": OK, "bob": status})
    expected = ["bob"] if status in ("portal_error", "not_tried", "failed") else []
    retries = list_retries(engine, run_id)
    assert [covered(engine, retry) for retry in retries] == ([expected] if expected else [])
    assert (status in RETRYABLE_RESULTS) == bool(expected)


def test_retry_is_a_run_of_its_own_that_waits_in_the_background(engine: Engine, olive: Viewer) -> None:
    with transaction(engine) as session:
        portal_id = make_portal(session).id
    job_id = add_job(engine, olive, "ann", "bob", "cyd", "dan", retry_delay_seconds=60, portal_id=portal_id)
    run_id = ended_run(engine, job_id, {**SOME_FAILED, "dan": WRONG})
    retry = only_retry(engine, run_id)
    assert (retry.trigger, retry.status, retry.attempt, retry.priority) == ("retry", "queued", 2, Priority.BACKGROUND)
    assert (retry.requested_by, retry.owner_id, retry.portal_id) == (None, olive.user_id, portal_id)
    assert retry.run_after == NOW + retry_delay(60, 1, run_id)
    assert retry.accounts_total == 2
    assert covered(engine, retry) == ["bob", "cyd"]


def test_rest_grows_with_the_attempts_until_none_is_left(engine: Engine, olive: Viewer) -> None:
    job_id = add_job(engine, olive, "ann", "bob", "cyd", retry_delay_seconds=60, max_attempts=3)
    first = ended_run(engine, job_id, SOME_FAILED)
    second = only_retry(engine, first)
    run_through(engine, second.id, {"bob": OK, "cyd": PORTAL_ERROR}, seconds=100)
    third = only_retry(engine, second.id)
    assert third.attempt == 3
    assert third.run_after == NOW + 100 * SECOND + retry_delay(60, 2, second.id)
    assert covered(engine, third) == ["cyd"]
    run_through(engine, third.id, {"cyd": PORTAL_ERROR}, RunStatus.FAILED, seconds=500)
    assert list_retries(engine, third.id) == []


def test_job_of_one_attempt_is_not_tried_again(engine: Engine, olive: Viewer) -> None:
    job_id = add_job(engine, olive, "ann", "bob", "cyd", max_attempts=1)
    assert list_retries(engine, ended_run(engine, job_id, SOME_FAILED)) == []


def test_attempts_that_a_run_lost_by_crashing_count(engine: Engine, olive: Viewer) -> None:
    job_id = add_job(engine, olive, "ann", "bob", "cyd", max_attempts=2)
    with transaction(engine) as session:
        run_id = make_run(session, session.get_one(Job, job_id)).id
        held = start(session, run_id)
        requeue_run(session, run_id, held.lease_token, "it crashed", NOW, is_fault=True)
    run_through(engine, run_id, SOME_FAILED)
    assert list_retries(engine, run_id) == []


@pytest.mark.parametrize("outcome", [RunStatus.STOPPED, RunStatus.COMPLETED, RunStatus.LOST])
def test_run_that_did_not_fail_by_itself_is_not_tried_again(engine: Engine, olive: Viewer, outcome: RunStatus) -> None:
    job_id = add_job(engine, olive, "ann", "bob", "cyd")
    assert list_retries(engine, ended_run(engine, job_id, SOME_FAILED, outcome)) == []


def test_run_that_ends_by_itself_before_a_stop_reaches_it_is_not_tried_again(engine: Engine, olive: Viewer) -> None:
    job_id = add_job(engine, olive, "ann", "bob", "cyd")
    with transaction(engine) as session:
        run_id = make_run(session, session.get_one(Job, job_id)).id
        held = start(session, run_id)
        record(session, held, SOME_FAILED)
        request_stop(session, olive, job_id, now=NOW)
        finish_run(session, run_id, held.lease_token, RunStatus.PARTIAL, None, NOW)
    assert list_retries(engine, run_id) == []


def test_run_that_failed_before_any_account_is_not_tried_again(engine: Engine, olive: Viewer) -> None:
    job_id = add_job(engine, olive, "ann")
    assert list_retries(engine, ended_run(engine, job_id, {}, RunStatus.FAILED)) == []


def test_run_that_ran_out_of_time_goes_on_with_what_it_did_not_come_to(engine: Engine, olive: Viewer) -> None:
    job_id = add_job(engine, olive, "ann", "bob", "cyd", "dan")
    run_id = ended_run(engine, job_id, {"ann": OK, "bob": WRONG, "cyd": PORTAL_ERROR}, RunStatus.TIMED_OUT)
    retry = only_retry(engine, run_id)
    assert covered(engine, retry) == ["cyd", "dan"]
    with transaction(engine) as session:  # a retry that runs out of time in turn goes on within its own accounts
        held = start(session, retry.id)
        record(session, held, {"cyd": OK})
        finish_run(session, retry.id, held.lease_token, RunStatus.TIMED_OUT, None, NOW)
    assert covered(engine, only_retry(engine, retry.id)) == ["dan"]


def test_sign_in_test_is_not_tried_again(engine: Engine, olive: Viewer) -> None:
    job_id = add_job(engine, olive, "ann")
    with transaction(engine) as session:
        run_id = make_run(session, session.get_one(Job, job_id), trigger=RunTrigger.TEST).id
    run_through(engine, run_id, {"ann": PORTAL_ERROR}, RunStatus.FAILED)
    assert list_retries(engine, run_id) == []


def test_retry_waits_for_a_portal_that_is_left_alone(engine: Engine, olive: Viewer) -> None:
    with transaction(engine) as session:
        portal_id = make_portal(session, breaker_open_until=NOW + HOUR).id
    job_id = add_job(engine, olive, "ann", "bob", retry_delay_seconds=60, portal_id=portal_id)
    run_id = ended_run(engine, job_id, {"ann": OK, "bob": ResultStatus.NOT_TRIED})
    assert only_retry(engine, run_id).run_after == NOW + HOUR + retry_delay(60, 1, run_id)


def test_retry_resumes_within_its_accounts_and_leaves_removed_ones_out(engine: Engine, olive: Viewer) -> None:
    job_id = add_job(engine, olive, "ann", "bob", "cyd", "dan")
    retry = only_retry(engine, ended_run(engine, job_id, {**SOME_FAILED, "dan": PORTAL_ERROR}))
    with transaction(engine) as session:
        session.delete(session.scalars(select(Account).where(Account.username == "cyd")).one())
        make_account(session, session.get_one(Job, job_id), "eve", 6)
        held = start(session, retry.id)
        record(session, held, {"bob": OK})
        requeue_run(session, retry.id, held.lease_token, "drained", NOW, is_fault=False)
    assert covered(engine, retry) == ["dan"]


def test_retry_outlives_the_run_that_it_retries(engine: Engine, olive: Viewer) -> None:
    job_id = add_job(engine, olive, "ann", "bob", "cyd")
    run_id = ended_run(engine, job_id, SOME_FAILED)
    retry = only_retry(engine, run_id)
    with transaction(engine) as session:
        session.delete(session.get_one(Run, run_id))
    assert get_run(engine, retry.id).parent_run_id is None
    assert covered(engine, retry) == ["bob", "cyd"]


def test_database_refuses_a_retry_of_all_accounts(engine: Engine, olive: Viewer) -> None:
    job_id = add_job(engine, olive, "ann")
    with pytest.raises(IntegrityError, match="retry_names_its_accounts"), transaction(engine) as session:
        make_run(session, session.get_one(Job, job_id), trigger=RunTrigger.RETRY, account_ids=None)


# Runs that go back to the queue


def test_run_rests_after_a_crash_and_not_after_what_was_no_fault_of_its(engine: Engine, olive: Viewer) -> None:
    job_id = add_job(engine, olive, "ann", retry_delay_seconds=60, max_attempts=9)
    with transaction(engine) as session:
        run = make_run(session, session.get_one(Job, job_id))
        held = start(session, run.id)
        requeue_run(session, run.id, held.lease_token, "the import process crashed", NOW, is_fault=True)
        assert run.run_after == NOW + retry_delay(60, 1, run.id)
        held = start(session, run.id, 100)
        requeue_run(session, run.id, held.lease_token, "the import process crashed", NOW, is_fault=True)
        assert run.run_after == NOW + retry_delay(60, 2, run.id)
        held = start(session, run.id, 200)
        requeue_run(session, run.id, held.lease_token, "drained", NOW, is_fault=False)
        assert run.run_after == NOW
        start(session, run.id, 300)
        recover_runs(session, NOW + HOUR)
        assert (run.status, run.attempt, run.run_after) == (RunStatus.QUEUED, 4, NOW + HOUR)


# What the job is meanwhile


def wait_with_retry(engine: Engine, olive: Viewer, **columns: object) -> tuple[str, int, Run]:
    """A job whose run ended partly done and whose retry is due in an hour: the job, the run, the retry."""
    job_id = add_job(engine, olive, "ann", "bob", "cyd", retry_delay_seconds=3600, **columns)
    run_id = ended_run(engine, job_id, SOME_FAILED)
    return job_id, run_id, only_retry(engine, run_id)


def test_waiting_retry_leaves_the_job_as_its_run_left_it(engine: Engine, olive: Viewer) -> None:
    job_id, run_id, retry = wait_with_retry(engine, olive)
    job = get_job(engine, job_id)
    assert (job.status, job.last_outcome, job.last_run_id, job.results_count) == ("partial", "partial", run_id, 3)
    with transaction(engine) as session:
        start(session, retry.id, 2 * 3600)
    job = get_job(engine, job_id)
    assert (job.status, job.last_outcome, job.last_run_id) == ("running", "partial", retry.id)


def test_retry_that_has_begun_counts_when_it_goes_back_to_the_queue(engine: Engine, olive: Viewer) -> None:
    job_id, _, retry = wait_with_retry(engine, olive)
    with transaction(engine) as session:
        held = start(session, retry.id, 2 * 3600)
        requeue_run(session, retry.id, held.lease_token, "drained", NOW, is_fault=False)
    assert get_job(engine, job_id).status == JobStatus.QUEUED


def test_occurrence_is_not_skipped_because_of_a_waiting_retry(engine: Engine, olive: Viewer) -> None:
    job_id, _, _ = wait_with_retry(engine, olive, schedule=EVERY_MINUTE)
    with transaction(engine) as session:
        assert fire_due_jobs(session, NOW).queued == 1
        (run,) = session.scalars(select(Run).where(Run.trigger == RunTrigger.SCHEDULE))
        assert (run.session_id, run.status) == (job_id, RunStatus.QUEUED)


def test_person_may_run_a_job_whose_retry_waits_and_the_whole_run_makes_it_needless(
    engine: Engine, olive: Viewer
) -> None:
    job_id, _, retry = wait_with_retry(engine, olive)
    with transaction(engine) as session:
        run_id = request_run(session, olive, job_id, trigger=RunTrigger.MANUAL, now=NOW).id
    run_through(engine, run_id, {"ann": OK, "bob": OK, "cyd": OK}, RunStatus.COMPLETED)
    retry = get_run(engine, retry.id)
    assert (retry.status, retry.cause, retry.reason) == ("skipped", Cause.SUPERSEDED, f"superseded by run {run_id}")
    job = get_job(engine, job_id)
    assert (job.status, job.last_outcome, job.last_run_id) == ("completed", "completed", run_id)


def test_whole_run_goes_before_a_retry_that_is_due_as_well(engine: Engine, olive: Viewer) -> None:
    job_id, _, retry = wait_with_retry(engine, olive)
    with transaction(engine) as session:
        later = NOW + 2 * HOUR
        run_id = make_run(session, session.get_one(Job, job_id), trigger=RunTrigger.SCHEDULE, at=later).id
        held = start(session, run_id, 2 * 3600)
        finish_run(session, run_id, held.lease_token, RunStatus.COMPLETED, None, later)
    assert get_run(engine, retry.id).status == RunStatus.SKIPPED


def test_whole_run_that_fails_leaves_a_retry_of_its_own_in_place_of_the_old_one(engine: Engine, olive: Viewer) -> None:
    job_id, _, old = wait_with_retry(engine, olive)
    run_id = ended_run(engine, job_id, {"ann": PORTAL_ERROR, "bob": OK, "cyd": OK})
    assert get_run(engine, old.id).status == RunStatus.SKIPPED
    new = only_retry(engine, run_id)
    assert (new.status, new.attempt, covered(engine, new)) == ("queued", 2, ["ann"])


def test_whole_run_that_never_began_leaves_the_retry_to_do_its_work(engine: Engine, olive: Viewer) -> None:
    job_id, _, retry = wait_with_retry(engine, olive)
    with transaction(engine) as session:
        make_run(session, session.get_one(Job, job_id), trigger=RunTrigger.SCHEDULE, status=RunStatus.MISSED)
    assert get_run(engine, retry.id).status == RunStatus.QUEUED


def test_retry_leaves_the_waiting_retry_of_another_run_alone(engine: Engine, olive: Viewer) -> None:
    job_id = add_job(engine, olive, "ann", "bob", "cyd", retry_delay_seconds=3600)
    older = ended_run(engine, job_id, SOME_FAILED)
    newer = ended_run(engine, job_id, {"ann": PORTAL_ERROR, "bob": OK, "cyd": OK})
    with transaction(engine) as session:
        asked = request_retry(session, olive, older, now=NOW).id
    run_through(engine, asked, {"bob": OK, "cyd": OK}, RunStatus.COMPLETED)
    assert only_retry(engine, newer).status == RunStatus.QUEUED


def test_stop_ends_a_waiting_retry_and_leaves_the_outcome(engine: Engine, olive: Viewer) -> None:
    job_id, _, retry = wait_with_retry(engine, olive)
    with transaction(engine) as session:
        assert request_stop(session, olive, job_id, now=NOW).id == retry.id
    assert get_run(engine, retry.id).status == RunStatus.STOPPED
    assert get_job(engine, job_id).status == JobStatus.PARTIAL
    with transaction(engine) as session, pytest.raises(ConflictError):
        request_stop(session, olive, job_id, now=NOW)


def test_stop_of_a_queued_run_stops_the_waiting_retry_too(engine: Engine, olive: Viewer) -> None:
    job_id, _, retry = wait_with_retry(engine, olive)
    with transaction(engine) as session:
        run_id = request_run(session, olive, job_id, trigger=RunTrigger.MANUAL, now=NOW).id
        request_stop(session, olive, job_id, now=NOW)
    assert [get_run(engine, i).status for i in (retry.id, run_id)] == [RunStatus.STOPPED] * 2
    assert get_job(engine, job_id).status == JobStatus.STOPPED


def test_waiting_retry_can_be_called_off_by_itself(engine: Engine, olive: Viewer) -> None:
    job_id, run_id, retry = wait_with_retry(engine, olive)
    with transaction(engine) as session:
        live = request_run(session, olive, job_id, trigger=RunTrigger.MANUAL, now=NOW).id
        assert cancel_retry(session, olive, retry.id, now=NOW).status == RunStatus.STOPPED
    assert get_run(engine, retry.id).reason == "called off before it began"
    assert (get_run(engine, live).status, get_job(engine, job_id).status) == (RunStatus.QUEUED, JobStatus.QUEUED)
    for other in (run_id, retry.id, live):
        with transaction(engine) as session, pytest.raises(ConflictError, match="is no retry that waits"):
            cancel_retry(session, olive, other, now=NOW)


def test_only_who_may_stop_a_run_may_call_its_retry_off(engine: Engine, olive: Viewer) -> None:
    _, _, retry = wait_with_retry(engine, olive)
    with transaction(engine) as session:
        stranger = make_viewer(session, "mallory")
        viewer = replace(olive, role=Role.VIEWER)
        with pytest.raises(NotFoundError):
            cancel_retry(session, stranger, retry.id, now=NOW)
        with pytest.raises(NotAllowedError):
            cancel_retry(session, viewer, retry.id, now=NOW)
    assert get_run(engine, retry.id).status == RunStatus.QUEUED


def test_automatic_retries_follow_a_persons_retry_with_attempts_of_its_own(engine: Engine, olive: Viewer) -> None:
    job_id = add_job(engine, olive, "ann", "bob", "cyd", max_attempts=2, retry_delay_seconds=3600)
    first = only_retry(engine, ended_run(engine, job_id, SOME_FAILED))
    run_through(engine, first.id, {"bob": PORTAL_ERROR, "cyd": OK}, seconds=2 * 3600)
    with transaction(engine) as session:
        asked = request_retry(session, olive, first.id, now=NOW)
        assert (asked.attempt, asked.parent_run_id, asked.priority) == (1, first.id, Priority.PERSON)
    run_through(engine, asked.id, {"bob": PORTAL_ERROR}, RunStatus.FAILED)
    automatic = only_retry(engine, asked.id)
    assert (automatic.attempt, automatic.priority, covered(engine, automatic)) == (2, Priority.BACKGROUND, ["bob"])


def test_paused_job_tries_nothing_again(engine: Engine, olive: Viewer) -> None:
    job_id, _, retry = wait_with_retry(engine, olive, schedule=EVERY_MINUTE)
    with transaction(engine) as session:
        pause_job(session, olive, job_id, now=NOW)
    retry = get_run(engine, retry.id)
    assert (retry.status, retry.reason) == (RunStatus.STOPPED, "the job was paused before this retry began")
    assert get_job(engine, job_id).status == JobStatus.PARTIAL
    assert list_retries(engine, ended_run(engine, job_id, SOME_FAILED)) == []


def test_pause_lets_a_retry_that_has_begun_go_on(engine: Engine, olive: Viewer) -> None:
    job_id, _, retry = wait_with_retry(engine, olive, schedule=EVERY_MINUTE)
    with transaction(engine) as session:
        start(session, retry.id, 2 * 3600)
        pause_job(session, olive, job_id, now=NOW)
    assert get_run(engine, retry.id).status == RunStatus.RUNNING


def test_deleted_job_takes_its_waiting_retry_along(engine: Engine, olive: Viewer) -> None:
    job_id, _, _ = wait_with_retry(engine, olive)
    with transaction(engine) as session:
        delete_job(session, olive, job_id)
        assert session.scalars(select(Run)).all() == []


# How the job stands after a retry


@pytest.mark.parametrize(
    ("first", "again", "outcome", "job_status"),
    [
        (SOME_FAILED, {"bob": OK, "cyd": OK}, RunStatus.COMPLETED, "completed"),
        (SOME_FAILED, {"bob": OK, "cyd": PORTAL_ERROR}, RunStatus.PARTIAL, "partial"),
        (SOME_FAILED, {"bob": PORTAL_ERROR, "cyd": PORTAL_ERROR}, RunStatus.FAILED, "partial"),
        ({"ann": WRONG, "bob": PORTAL_ERROR}, {"bob": OK}, RunStatus.COMPLETED, "partial"),
        ({"ann": WRONG, "bob": PORTAL_ERROR}, {"bob": PORTAL_ERROR}, RunStatus.FAILED, "failed"),
        (SOME_FAILED, {"bob": OK}, RunStatus.STOPPED, "stopped"),
    ],
)
def test_job_stands_as_all_its_accounts_do(
    engine: Engine, olive: Viewer, first: Results, again: Results, outcome: RunStatus, job_status: str
) -> None:
    job_id = add_job(engine, olive, *first)
    retry = only_retry(engine, ended_run(engine, job_id, first))
    run_through(engine, retry.id, again, outcome)
    job = get_job(engine, job_id)
    assert (job.status, job.last_outcome, job.last_run_id) == (job_status, job_status, retry.id)
    assert get_run(engine, retry.id).status == outcome
    assert job.results_count == len(first) + len(again)


def test_job_stands_as_its_accounts_do_after_two_retries(engine: Engine, olive: Viewer) -> None:
    job_id = add_job(engine, olive, "ann", "bob", "cyd", "dan")
    second = only_retry(engine, ended_run(engine, job_id, {**SOME_FAILED, "dan": WRONG}))
    run_through(engine, second.id, {"bob": OK, "cyd": PORTAL_ERROR})
    third = only_retry(engine, second.id)
    run_through(engine, third.id, {"cyd": OK}, RunStatus.COMPLETED)
    assert get_job(engine, job_id).status == JobStatus.PARTIAL  # dan's password is still wrong
    with transaction(engine) as session:
        assert session.scalars(select(Result.username).where(Result.run_id == third.id)).all() == ["cyd"]


def test_ledger_knows_an_occurrence_by_its_own_run_and_not_by_its_retry(engine: Engine, olive: Viewer) -> None:
    job_id = add_job(engine, olive, "ann", "bob", "cyd", schedule=EVERY_MINUTE)
    with transaction(engine) as session:
        fire_due_jobs(session, NOW)
        (run_id,) = session.scalars(select(Run.id))
    run_through(engine, run_id, SOME_FAILED)
    run_through(engine, only_retry(engine, run_id).id, {"bob": OK, "cyd": OK}, RunStatus.COMPLETED)
    with transaction(engine) as session:
        ledger = draw_up_ledger(session, olive, job_id, starts_at=NOW - SECOND, ends_at=NOW + SECOND, now=NOW)
    assert ledger.balances
    assert [(group.account, group.count) for group in ledger.groups] == [("ran", 1)]
    assert get_run(engine, run_id).status == RunStatus.PARTIAL
