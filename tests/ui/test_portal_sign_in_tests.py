"""*Test sign-in* and the bill table on a portal's page: asked for, watched, told in words, mapped with a preview."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from db.engine import transaction
from db.models import (
    Account,
    AccountStatus,
    Job,
    LogLevel,
    Portal,
    Result,
    ResultStatus,
    Run,
    RunStatus,
    RunTrigger,
)
from db.run_log import LogLine, record_log_lines
from db.sign_in_tests import record_bill_sample
from db.viewers import Viewer
from tests.factories import make_account, make_job, make_portal, make_run
from tests.ui.conftest import OpenPage, words

HEADERS = ["Réf.", "Date", "Montant TTC", "", "Date"]
ROWS = [
    ["F-0001", "03/04/2026", "1 234,56 €", "PDF", "x"],
    ["F-0002", "13/04/2026", "bientôt", "PDF"],
    ["Total", "", "1 234,56 €", "", ""],
]


@pytest.fixture
def job(engine: Engine, olive: Viewer) -> Job:
    """A job of hers at a portal that nobody else uses."""
    with transaction(engine) as session:
        portal = make_portal(session)
        return make_job(session, olive, portal_id=portal.id, accounts=2, name="Energy")


def first_account(session: Session, job: Job) -> Account:
    return session.scalars(select(Account).where(Account.session_id == job.id).order_by(Account.id)).first()  # type: ignore[return-value]


def add_test(
    engine: Engine,
    job: Job,
    status: RunStatus = RunStatus.COMPLETED,
    result: ResultStatus | None = None,
    error: str | None = None,
    steps: list[tuple[LogLevel, str]] | None = None,
    **columns: Any,
) -> int:
    """A test of the job's first account that ended so."""
    now = datetime.now(UTC)
    with transaction(engine) as session:
        account = first_account(session, job)
        values = {"trigger": RunTrigger.TEST, "status": status, "account_ids": [account.id], "at": now} | columns
        run = make_run(session, session.get_one(Job, job.id), **values)
        if result is not None:
            told = {"status": result, "error": error, "account_id": account.id, "username": account.username}
            session.add(Result(run_id=run.id, session_id=job.id, row_number=2, created_at=now, **told))
        lines = [LogLine(now, level, f"{account.username}: {text}", account.id) for level, text in steps or []]
        record_log_lines(session, run.id, lines)
        return run.id


def add_sample(
    engine: Engine, job: Job, headers: Sequence[str] = HEADERS, rows: Sequence[Sequence[str]] = ROWS
) -> None:
    run_id = add_test(engine, job, result=ResultStatus.SUCCESS)
    with transaction(engine) as session:
        account_id = first_account(session, job).id
        record_bill_sample(session, run_id, account_id, headers=headers, rows=rows, now=datetime.now(UTC))


def test_button_asks_for_a_test_of_the_chosen_account(
    engine: Engine, olive: Viewer, open_page: OpenPage, job: Job
) -> None:
    with transaction(engine) as session:
        other = make_job(session, olive, portal_id=job.portal_id, accounts=0, name="Another")
        stuck = make_account(session, other, "stuck@example.com")
        stuck.status = AccountStatus.NEEDS_ATTENTION
    app = open_page(olive, "portal", id=str(job.portal_id), job=job.id)
    key = f"portal-{job.portal_id}-test"
    assert app.selectbox(key=f"{key}-job").value == job.id
    app.selectbox(key=f"{key}-job").set_value(other.id).run()
    assert app.selectbox(key=f"{key}-account-{other.id}").options == ["stuck@example.com (left alone)"]
    app.button(key=f"{key}-start").click().run()
    with transaction(engine) as session:
        run = session.scalars(select(Run)).one()
        assert (run.trigger, run.session_id, run.account_ids) == (RunTrigger.TEST, other.id, [stuck.id])
    assert app.query_params["test"] == str(run.id)
    assert "Test of `stuck@example.com`" in words(app)
    assert app.button(key=f"{key}-start").disabled


def test_a_test_that_is_opened_again_offers_its_own_account(
    engine: Engine, olive: Viewer, open_page: OpenPage, job: Job
) -> None:
    with transaction(engine) as session:
        other = make_job(session, olive, portal_id=job.portal_id, accounts=0, name="Another")
        make_account(session, other, "other@example.com")
    for tested in (job, other):
        run_id = add_test(engine, tested, result=ResultStatus.SUCCESS)
        app = open_page(olive, "portal", id=str(job.portal_id), test=str(run_id))
        assert app.selectbox(key=f"portal-{job.portal_id}-test-job").value == tested.id


def test_refused_test_says_why(engine: Engine, olive: Viewer, open_page: OpenPage, job: Job) -> None:
    app = open_page(olive, "portal", id=str(job.portal_id))
    with transaction(engine) as session:
        portal = session.get_one(Portal, job.portal_id)
        portal.breaker_open_until, portal.breaker_reason = datetime.now(UTC) + timedelta(hours=1), "5 refused"
    app.button(key=f"portal-{job.portal_id}-test-start").click().run()
    (warning,) = [w.value for w in app.warning if w.value.startswith("Not tested")]
    assert "5 refused" in warning
    with transaction(engine) as session:
        assert session.scalars(select(Run)).all() == []


def test_steps_are_told_in_order_and_inert(engine: Engine, olive: Viewer, open_page: OpenPage, job: Job) -> None:
    steps = [
        (LogLevel.INFO, "sign-in page: “<b>Hi</b> [x](http://a.example)”, 200 OK, at http://a.example/login"),
        (LogLevel.INFO, "  form sent by POST to http://a.example/login: user (text), password (password)"),
        (LogLevel.WARNING, "the page has two forms"),
    ]
    run_id = add_test(engine, job, result=ResultStatus.SUCCESS, steps=steps)
    app = open_page(olive, "portal", id=str(job.portal_id), test=str(run_id))
    (html,) = [
        html.proto.body for html in app.get("html") if "steps" in html.proto.body and "<style" not in html.proto.body
    ]
    assert html.count('class="step ') == 3
    assert "Sign-in page: “&lt;b&gt;Hi&lt;/b&gt; [x](http://a.example)”" in html
    assert "<span></span><span>Form sent by POST" in html
    assert '<div class="step warning">' in html
    assert "! The page has two forms" in html
    assert "account2@example.com:" not in html
    assert [s.value for s in app.success] == ["The sign-in works."]


@pytest.mark.parametrize(
    ("status", "result", "error", "expected"),
    [
        (RunStatus.COMPLETED, ResultStatus.NO_BILLS, None, ["The sign-in works. This account has no bills there."]),
        (RunStatus.FAILED, ResultStatus.WRONG_CREDENTIALS, "it said *no*", ["Wrong credentials.", "It said *no*"]),
        (RunStatus.FAILED, ResultStatus.NEEDS_ATTENTION, "a code", ["Needs attention.", "test again", "A code"]),
        (RunStatus.FAILED, ResultStatus.PORTAL_CHANGED, "no form", ["Portal changed.", "under Settings", "No form"]),
        (RunStatus.FAILED, ResultStatus.PORTAL_ERROR, "503", ["Portal error.", "test again later", "503"]),
        (RunStatus.STOPPED, None, None, ["ended before the portal answered", "Stopped on request"]),
    ],
)
def test_ending_is_told_with_what_helps(
    engine: Engine, olive: Viewer, open_page: OpenPage, job: Job,
    status: RunStatus, result: ResultStatus | None, error: str | None, expected: list[str],
) -> None:  # fmt: skip
    run_id = add_test(engine, job, status, result, error, reason="stopped on request")
    shown = words(open_page(olive, "portal", id=str(job.portal_id), test=str(run_id)))
    assert [text for text in expected if text not in shown] == []


def test_tests_of_others_and_other_runs_are_not_shown(
    engine: Engine, olive: Viewer, otto: Viewer, open_page: OpenPage, job: Job
) -> None:
    with transaction(engine) as session:
        theirs = make_job(session, otto, portal_id=job.portal_id, name="Secret name")
        ordinary = make_run(session, session.get_one(Job, job.id), status=RunStatus.COMPLETED)
        elsewhere = make_job(session, olive, portal_id=make_portal(session, "b.example").id)
    numbers = [add_test(engine, theirs), ordinary.id, add_test(engine, elsewhere), 999_999, "x"]
    for number in numbers:
        app = open_page(olive, "portal", id=str(job.portal_id), test=str(number))
        assert app.title[0].value.startswith("portal")
        assert "Test of" not in words(app)
        assert "Secret name" not in words(app)


def test_viewer_watches_but_asks_for_nothing(engine: Engine, vera: Viewer, open_page: OpenPage) -> None:
    with transaction(engine) as session:
        job = make_job(session, vera, portal_id=make_portal(session).id)
    app = open_page(vera, "portal", id=str(job.portal_id))
    assert "Your role may look at tests but not ask for one." in words(app)
    assert [button for button in app.button if button.label == "Test sign-in"] == []
    run_id = add_test(engine, job, result=ResultStatus.SUCCESS)
    assert "The sign-in works." in words(open_page(vera, "portal", id=str(job.portal_id), test=str(run_id)))


# The bill table


def choice(job: Job, field: str, rounds: int = 0) -> str:
    return f"portal-{job.portal_id}-bills-{rounds}-{field}"


def preview(app: Any) -> list[list[str]]:
    return app.dataframe[1].value.to_numpy().tolist()


def test_sample_is_shown_with_what_a_run_makes_of_it(
    engine: Engine, olive: Viewer, open_page: OpenPage, job: Job
) -> None:
    add_sample(engine, job)
    app = open_page(olive, "portal", id=str(job.portal_id))
    assert app.dataframe[0].value.to_numpy().tolist() == [[*row, *[""] * (5 - len(row))] for row in ROWS]
    assert preview(app) == [
        ["F-0001", "–", "–", "1,234.56", "EUR", "–"],
        ["F-0002", "13 Apr 2026", "–", "–", "–", "–"],
        ["Not a bill", "", "", "", "", ""],
    ]
    shown = words(app)
    assert "Issue date: “03/04/2026” can mean two days: choose the order of day and month." in shown
    assert "Amount: “bientôt” could not be read." in shown
    assert "No column for: due date, status." in shown


def test_preview_follows_the_choices_and_they_are_saved(
    engine: Engine, olive: Viewer, open_page: OpenPage, job: Job
) -> None:
    add_sample(engine, job)
    app = open_page(olive, "portal", id=str(job.portal_id))
    assert app.selectbox(key=choice(job, "due_on")).options == [
        "By its wording: none found", "Réf.", "Date", "Montant TTC"
    ]  # fmt: skip
    app.selectbox(key=choice(job, "due_on")).set_value("Date")
    app.radio(key=choice(job, "date-order")).set_value("day_first").run()
    assert preview(app)[0] == ["F-0001", "–", "3 Apr 2026", "1,234.56", "EUR", "–"]
    with transaction(engine) as session:
        assert session.get_one(Portal, job.portal_id).column_mapping is None
    app.button(key=choice(job, "save")).click().run()
    with transaction(engine) as session:
        portal = session.get_one(Portal, job.portal_id)
        assert (portal.column_mapping, portal.date_order, portal.version) == ({"due_on": "Date"}, "day_first", 2)
    assert app.selectbox(key=choice(job, "due_on", 1)).value == "Date"


def test_columns_and_settings_saved_one_after_the_other_do_not_collide(
    engine: Engine, olive: Viewer, open_page: OpenPage, job: Job
) -> None:
    add_sample(engine, job)
    app = open_page(olive, "portal", id=str(job.portal_id))
    typed = f"portal-{job.portal_id}-settings-0-username_selector"
    app.selectbox(key=choice(job, "due_on")).set_value("Date")
    app.button(key=choice(job, "save")).click().run()
    app.text_input(key=typed).set_value("#user")
    app.button(key=f"portal-{job.portal_id}-settings-0-save").click().run()
    with transaction(engine) as session:
        portal = session.get_one(Portal, job.portal_id)
        assert (portal.username_selector, portal.column_mapping) == ("#user", {"due_on": "Date"})


def test_chosen_header_that_this_sample_lacks_stays_chosen(
    engine: Engine, olive: Viewer, open_page: OpenPage, job: Job
) -> None:
    with transaction(engine) as session:
        session.get_one(Portal, job.portal_id).column_mapping = {"number": "Belegnr."}
    for add in (lambda: None, lambda: add_sample(engine, job)):
        add()
        app = open_page(olive, "portal", id=str(job.portal_id))
        assert app.selectbox(key=choice(job, "number")).value == "Belegnr."
    assert "F-0001" not in str(preview(app))
    assert "Number: the column “Belegnr.” is not in this table." in words(app)
    app.selectbox(key=choice(job, "number")).set_value("Date").run()
    assert "is not in this table" not in words(app)


def test_table_that_a_run_would_pass_over_is_warned_of(
    engine: Engine, olive: Viewer, open_page: OpenPage, job: Job
) -> None:
    add_sample(engine, job, headers=["Wat", "Hoeveel"], rows=[["A-1", "2,50"]])
    app = open_page(olive, "portal", id=str(job.portal_id))
    assert [w.value for w in app.warning if "does not take it for a table of bills" in w.value]
    app.selectbox(key=choice(job, "number")).set_value("Wat").run()
    assert len(app.warning) == 1
    app.selectbox(key=choice(job, "amount")).set_value("Hoeveel").run()
    assert len(app.warning) == 0
    assert preview(app) == [["A-1", "–", "–", "2.50", "–", "–"]]


def test_without_a_sample_a_test_is_asked_for(olive: Viewer, open_page: OpenPage, job: Job) -> None:
    app = open_page(olive, "portal", id=str(job.portal_id))
    assert "No bill table of this portal has been seen yet. Test a sign-in" in words(app)
    assert app.dataframe.values == []
