"""Retries on the pages: the button, what is said about them, and the fields of the forms."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import streamlit as st
from sqlalchemy import Engine, select

from db.accounts import list_accounts
from db.engine import transaction
from db.models import Job, Result, ResultStatus, Run, RunStatus, RunTrigger
from db.retries import RetryPolicy
from db.viewers import Viewer
from tests.factories import NOW, make_account, make_job, make_run
from tests.ui.conftest import OpenPage, words
from ui.bulk_actions import DIALOG
from ui.retry_editor import describe_retries, explain_retries
from ui.run_head import RETRY_PACE_SECONDS

OK, PORTAL_ERROR, WRONG = ResultStatus.SUCCESS, ResultStatus.PORTAL_ERROR, ResultStatus.WRONG_CREDENTIALS
CSV = b"username,password\nada@example.com,s3cret\n"


def add_run(engine: Engine, viewer: Viewer, *results: ResultStatus, **columns: Any) -> Run:
    """A run that ended partly done a minute ago."""
    now = datetime.now(UTC)
    with transaction(engine) as session:
        job = make_job(session, viewer, accounts=len(results), status="partial", last_outcome="partial")
        values: dict[str, Any] = {"started_at": now, "accounts_total": len(results), "accounts_done": len(results)}
        values |= {"status": RunStatus.PARTIAL, "at": now - timedelta(minutes=1)}
        run = make_run(session, job, **(values | columns))
        for account, status in zip(list_accounts(session, job), results, strict=True):
            values = {"account_id": account.id, "username": account.username, "row_number": account.row_number}
            session.add(Result(run_id=run.id, session_id=job.id, status=status, created_at=now, **values))
        return run


def add_retry(engine: Engine, run: Run, **columns: Any) -> Run:
    """An automatic retry of the run, due in an hour."""
    now = datetime.now(UTC)
    with transaction(engine) as session:
        job = session.get_one(Job, run.session_id)
        status = job.status
        values = {"at": now, "run_after": now + timedelta(minutes=61), "parent_run_id": run.id, "attempt": 2}
        retry = make_run(session, job, trigger=RunTrigger.RETRY, accounts_total=2, **(values | columns))
        job.status = status
        return retry


def links(app: Any) -> list[str]:
    return [button.label for button in app.button if str(button.key).startswith("run-link-")]


def test_run_page_retries_failed_accounts(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    run = add_run(engine, olive, OK, PORTAL_ERROR, WRONG)
    app = open_page(olive, "run", id=str(run.id))
    assert "1 account" in app.button(key="run-retry").help
    app.button(key="run-retry").click().run()
    with transaction(engine) as session:
        retry = session.scalars(select(Run).where(Run.parent_run_id == run.id)).one()
    assert (retry.status, retry.requested_by, retry.accounts_total) == (RunStatus.QUEUED, olive.user_id, 1)
    app = open_page(olive, "run", id=str(run.id))
    assert f"1 account queued as run {retry.id}" in links(app)
    assert "run-retry" not in [b.key for b in app.button]
    app = open_page(olive, "run", id=str(retry.id))
    assert links(app) == [f"Retry of run {run.id}"]
    app.button(key=f"run-link-{run.id}").click().run()
    assert (app.title[0].value, app.query_params["id"]) == (f"Run {run.id}", str(run.id))


@pytest.mark.parametrize(
    ("results", "help_text"),
    [
        ([OK], "Signs in to 2 accounts that this run did not come to, and to no others."),
        (
            [OK, PORTAL_ERROR],
            "Signs in to 1 account that this run did not come to. Signs in again to 1 account that may do better now,"
            " and to no others.",
        ),
    ],
)
def test_run_page_goes_on_with_a_run_that_was_cut_short(
    engine: Engine, olive: Viewer, open_page: OpenPage, results: list[ResultStatus], help_text: str
) -> None:
    run = add_run(engine, olive, *results, status=RunStatus.STOPPED)
    with transaction(engine) as session:
        job = session.get_one(Job, run.session_id)
        for n in range(3 - len(results)):
            make_account(session, job, f"late{n}@example.com", 10 + n)
    app = open_page(olive, "run", id=str(run.id))
    assert (app.button(key="run-retry").label, app.button(key="run-retry").help) == ("Continue", help_text)
    app.button(key="run-retry").click().run()
    with transaction(engine) as session:
        following = session.scalars(select(Run).where(Run.parent_run_id == run.id)).one()
    assert (following.status, following.accounts_total) == (RunStatus.QUEUED, 2)


def test_run_page_offers_no_retry_where_none_helps(
    engine: Engine, olive: Viewer, vera: Viewer, open_page: OpenPage
) -> None:
    mended_by_a_person = add_run(engine, olive, OK, WRONG)
    looked_at = add_run(engine, vera, OK, PORTAL_ERROR)
    busy = add_run(engine, olive, OK, PORTAL_ERROR)
    with transaction(engine) as session:
        make_run(session, session.get_one(Job, busy.session_id))
    for viewer, run in ((olive, mended_by_a_person), (vera, looked_at), (olive, busy)):
        app = open_page(viewer, "run", id=str(run.id))
        assert app.title[0].value == f"Run {run.id}"
        assert "run-retry" not in [b.key for b in app.button]


def test_waiting_retry_says_when_it_comes_and_can_be_called_off(
    engine: Engine, olive: Viewer, vera: Viewer, open_page: OpenPage
) -> None:
    run = add_run(engine, olive, OK, PORTAL_ERROR, PORTAL_ERROR)
    retry = add_retry(engine, run)
    app = open_page(olive, "run", id=str(run.id))
    assert f"Run {retry.id} tries 2 accounts again in 1 h, attempt 2 of 3" in links(app)
    app = open_page(olive, "job", id=run.session_id)
    assert "Partly done; tries 2 accounts again in 1 h" in words(app)
    assert "job-run" in [b.key for b in app.button]
    assert f"Retry of run {run.id}" in words(app)
    app = open_page(olive, "run", id=str(retry.id))
    assert "Tries 2 accounts again in 1 h" in app.get("progress")[0].proto.text
    assert [b.key for b in app.button] == ["run-call-off", f"run-link-{run.id}"]
    app.button(key="run-call-off").click().run()
    with transaction(engine) as session:
        assert session.get_one(Run, retry.id).status == RunStatus.STOPPED
    assert f"Run {retry.id} was to retry 2 accounts: called off before it began" in links(
        open_page(olive, "run", id=str(run.id))
    )


@pytest.mark.parametrize(
    ("run_status", "retry_status", "seconds"),
    [
        (RunStatus.RUNNING, None, 1),
        (RunStatus.PARTIAL, None, None),
        (RunStatus.PARTIAL, RunStatus.QUEUED, RETRY_PACE_SECONDS),
        (RunStatus.PARTIAL, RunStatus.RUNNING, RETRY_PACE_SECONDS),
        (RunStatus.PARTIAL, RunStatus.COMPLETED, None),
    ],
)
def test_run_page_is_drawn_again_while_the_run_or_its_retry_is_live(
    engine: Engine,
    olive: Viewer,
    open_page: OpenPage,
    monkeypatch: pytest.MonkeyPatch,
    run_status: RunStatus,
    retry_status: RunStatus | None,
    seconds: int | None,
) -> None:
    paces: dict[str, float | None] = {}
    make_fragment = st.fragment

    def note_pace(function: Any = None, *, run_every: Any = None, **options: Any) -> Any:
        if function is not None:
            paces[function.__name__] = run_every
        return make_fragment(function, run_every=run_every, **options)

    with transaction(engine) as session:
        run = make_run(session, make_job(session, olive), status=run_status)
        if retry_status is not None:
            job = make_job(session, olive)
            make_run(session, job, trigger=RunTrigger.RETRY, status=retry_status, parent_run_id=run.id)
    monkeypatch.setattr(st, "fragment", note_pace)
    open_page(olive, "run", id=str(run.id))
    assert paces["render_run"] == seconds


def test_run_page_follows_its_retry(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    run = add_run(engine, olive, PORTAL_ERROR)
    retry = add_retry(engine, run)
    app = open_page(olive, "run", id=str(run.id))
    with transaction(engine) as session:
        found = session.get_one(Run, retry.id)
        found.status, found.started_at, found.finished_at = RunStatus.COMPLETED, NOW, NOW
    app.run()
    (link,) = links(app)
    assert link.endswith("completed")


def test_retry_that_ran_is_told_with_its_outcome(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    run = add_run(engine, olive, OK, PORTAL_ERROR, PORTAL_ERROR)
    now = datetime.now(UTC)
    retry = add_retry(engine, run, status=RunStatus.COMPLETED, started_at=now, finished_at=now)
    (line,) = [label for label in links(open_page(olive, "run", id=str(run.id))) if "retried" in label]
    assert line.startswith(f"2 accounts retried as run {retry.id} on ")
    assert line.endswith(", attempt 2 of 3: completed")


def test_new_job_takes_its_retries(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    app = open_page(olive, "new_job")
    assert "tried again after about 1 min, then after about 2 min" in words(app)
    app.text_input(key="new-name").set_value("Energy")
    app.file_uploader[0].upload("accounts.csv", CSV, "text/csv")
    app.text_input(key="new-login").set_value("https://portal.example/login")
    app.text_input(key="new-billing").set_value("https://portal.example/bills")
    app.number_input(key="new-attempts").set_value(5)
    app.selectbox(key="new-retry-delay").set_value(900)
    app.run()
    app.checkbox(key="new-authorised").check()
    next(b for b in app.button if b.label == "Create job").click().run()
    with transaction(engine) as session:
        job = session.scalars(select(Job)).one()
    assert (job.max_attempts, job.retry_delay_seconds) == (5, 900)
    assert "Failed accounts are tried again after about 15 min, 5 attempts in all" in words(
        open_page(olive, "job", id=job.id)
    )


def test_edit_changes_the_retries_and_keeps_an_unusual_wait(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive, retry_delay_seconds=7)
    app = open_page(olive, "job", id=job.id)
    app.button(key="job-edit").click().run()
    key = f"edit-{job.id}-{job.version}"
    assert app.selectbox(key=f"{key}-retry-delay").value == 7
    app.number_input(key=f"{key}-attempts").set_value(1)
    app.button(key="job-edit").click()  # a test draws the dialog only in the run in which it is opened
    app.button(key=f"{key}-save").click().run()
    with transaction(engine) as session:
        job = session.get_one(Job, job.id)
        assert (job.max_attempts, job.retry_delay_seconds) == (1, 7)


def test_retries_of_several_jobs_are_changed_at_once(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    with transaction(engine) as session:
        jobs = [make_job(session, olive, max_attempts=attempts, retry_delay_seconds=77) for attempts in (4, 3, 3)]
    app = open_page(olive, "jobs")
    wish = ("retries", (jobs[:2],))  # as the button leaves it for the jobs that are ticked
    app.session_state[DIALOG] = wish
    app.run()
    assert app.number_input[0].value == 4
    app.number_input[0].set_value(6)
    app.session_state[DIALOG] = wish  # a test draws the dialog only in the run in which it is opened
    next(button for button in app.button if button.label == "Save for 2 jobs").click().run()
    assert app.toast[0].value == "Changed the retries of 2 jobs."
    with transaction(engine) as session:
        stored = {job.id: (job.max_attempts, job.retry_delay_seconds) for job in session.scalars(select(Job))}
    assert [stored[job.id] for job in jobs] == [(6, 77), (6, 77), (3, 77)]


@pytest.mark.parametrize(
    ("retries", "told", "differs"),
    [
        (RetryPolicy(), "after about 1 min, then after about 2 min.", ""),
        (RetryPolicy(1, 60), "Nothing is tried again by itself.", "failed accounts are not tried again by themselves"),
        (RetryPolicy(3, 0), "are tried again at once.", "failed accounts are tried again at once, 3 attempts in all"),
        (
            RetryPolicy(7, 5400),
            "after about 1 h 30 min, then after about 3 h, then after about 6 h, then after about 6 h and so on.",
            "failed accounts are tried again after about 1 h 30 min, 7 attempts in all",
        ),
    ],
)
def test_policy_is_told_in_words(retries: RetryPolicy, told: str, differs: str) -> None:
    assert told in explain_retries(retries)
    assert explain_retries(retries).endswith("Refused sign-ins are never repeated.")
    assert describe_retries(retries) == differs
