"""What each page shows and does, and to whom."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Engine, select

import db.job_lists
from db.claiming import claim_runs
from db.engine import transaction
from db.instances import register_instance
from db.models import AccountStatus, Job, JobStatus, Portal, ResultStatus, Role, RunAttempt, RunStatus, RunTrigger
from db.results import ResultRecord, record_results
from db.viewers import Viewer
from tests.factories import DAILY, NOW, make_account, make_job, make_portal, make_run, make_viewer
from tests.ui.conftest import OpenPage, texts, words
from ui.plain_text import plain

PAGES = ("jobs", "new_job", "job", "run", "evidence")
CSV = b"username,password,site\nada@example.com,s3cret-ada,north\nben@example.com,s3cret-ben,south\n"


def all_jobs(engine: Engine) -> list[Job]:
    with transaction(engine) as session:
        return list(session.scalars(select(Job)))


@pytest.mark.parametrize("name", PAGES)
def test_page_without_identity_shows_only_how_to_start(
    engine: Engine, olive: Viewer, open_page: OpenPage, name: str
) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive, name="Hidden job")
        run = make_run(session, job)
    app = open_page(None, name, id=job.id if name == "job" else str(run.id))
    assert "make run" in texts(app)
    assert "Hidden job" not in texts(app)
    assert not app.button


@pytest.mark.parametrize("name", ["job", "run"])
def test_page_of_somebody_elses_things_shows_nothing_of_them(
    engine: Engine, olive: Viewer, otto: Viewer, open_page: OpenPage, name: str
) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive, name="Hidden job")
        run = make_run(session, job)
    app = open_page(otto, name, id=job.id if name == "job" else str(run.id))
    assert "belongs to someone else" in texts(app)
    assert "Hidden job" not in texts(app)
    assert not app.exception


@pytest.mark.parametrize("run_id", ["", "abc", "-1", "99999999999999999999999", "7"])
def test_run_page_with_a_wrong_address_says_so(olive: Viewer, open_page: OpenPage, run_id: str) -> None:
    app = open_page(olive, "run", id=run_id)
    assert "There is no such run" in texts(app)
    assert not app.exception


def test_jobs_page_without_jobs_loads_the_demo_job_in_one_click(
    engine: Engine, olive: Viewer, open_page: OpenPage
) -> None:
    app = open_page(olive, "jobs")
    next(b for b in app.button if b.label == "Load the demo job").click().run()
    (job,) = all_jobs(engine)
    assert job.accounts_count == 20
    assert job.is_scheduled
    assert job.next_run is not None


def test_jobs_page_of_a_viewer_offers_nothing_to_create(vera: Viewer, open_page: OpenPage) -> None:
    app = open_page(vera, "jobs")
    assert [b.label for b in app.button] == []


def test_jobs_page_shows_the_schedule_table(engine: Engine, olive: Viewer, otto: Viewer, open_page: OpenPage) -> None:
    with transaction(engine) as session:
        make_job(
            session, olive, name="Daily one", schedule=DAILY, next_run=datetime.now(UTC) + timedelta(hours=5, minutes=1)
        )
        make_job(session, olive, name="By hand", last_outcome=RunStatus.FAILED, last_run_at=datetime.now(UTC))
        make_job(session, otto, name="Not hers")
    app = open_page(olive, "jobs")
    frame = app.dataframe[0].value.set_index("name")
    assert set(frame.index) == {"Daily one", "By hand"}
    assert frame.loc["Daily one", "badge"] == "📅"
    assert frame.loc["By hand", "badge"] == ""
    assert frame.loc["Daily one", "schedule"] == "Every day at 02:00"
    assert frame.loc["Daily one", "next_run"].endswith("· in 5 h")
    assert frame.loc["By hand", "last_outcome"] == ["✕ Failed"]


def test_jobs_page_searches_and_says_when_nothing_matches(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    with transaction(engine) as session:
        make_job(session, olive, name="Water")
        make_job(session, olive, name="Gas")
    app = open_page(olive, "jobs")
    app.text_input(key="jobs-q").set_value("gas").run()
    assert list(app.dataframe[0].value["name"]) == ["Gas"]
    app.text_input(key="jobs-q").set_value("100%").run()
    assert "No job matches" in texts(app)


def test_jobs_page_of_very_many_jobs_counts_the_newest_and_searches_on(
    engine: Engine, olive: Viewer, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db.job_lists, "LOOKED_THROUGH", 3)
    with transaction(engine) as session:
        make_job(session, olive, name="Gas", created_at=NOW - timedelta(days=9))
        for _ in range(3):
            make_job(session, olive, name="Water", status=JobStatus.FAILED)
    app = open_page(olive, "jobs")
    pills = app.get("button_group")[0].proto.options
    assert [pill.content for pill in pills][:2] == ["Not run yet", "Queued"]
    assert "Failed 3+" in [pill.content for pill in pills]
    assert "Of 3 jobs or more, the numbers count the newest 3." in texts(app)
    app.text_input(key="jobs-q").set_value("gas").run()
    assert "None of 3 jobs matches" in texts(app)
    app.button(key="jobs-older").click().run()
    assert list(app.dataframe[0].value["name"]) == ["Gas"]
    app.button(key="jobs-newer").click().run()
    assert "None of 3 jobs matches" in texts(app)


def test_jobs_page_shows_admins_everyones_jobs_with_their_owners(
    engine: Engine, olive: Viewer, open_page: OpenPage
) -> None:
    with transaction(engine) as session:
        admin = make_viewer(session, "ada", Role.ADMIN)
        make_job(session, olive)
    frame = open_page(admin, "jobs").dataframe[0].value
    assert list(frame["owner"]) == ["Olive"]


def test_new_job_is_refused_with_every_reason_and_keeps_what_was_typed(
    engine: Engine, olive: Viewer, open_page: OpenPage
) -> None:
    app = open_page(olive, "new_job")
    app.text_input(key="new-name").set_value("Energy")
    app.text_input(key="new-login").set_value("ftp://portal.example/login")
    app.run()
    next(b for b in app.button if b.label == "Create job").click().run()
    shown = words(app)
    assert "only http:// and https:// addresses work" in shown
    assert "choose a CSV file" in shown
    assert "enter the portal's billing URL" in shown
    assert shown.index("choose a CSV") < shown.index("only http://") < shown.index("billing URL, starting")
    assert app.text_input(key="new-name").value == "Energy"
    assert app.text_input(key="new-login").value == "ftp://portal.example/login"
    assert all_jobs(engine) == []


def test_new_job_is_created_with_its_schedule(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    app = open_page(olive, "new_job")
    app.text_input(key="new-name").set_value("Energy")
    app.file_uploader[0].upload("accounts.csv", CSV, "text/csv")
    app.run()
    app.text_input(key="new-login").set_value("https://portal.example/login")
    app.text_input(key="new-billing").set_value("https://portal.example/{site}/bills")
    app.run()
    app.checkbox(key="new-authorised").check()
    next(b for b in app.button if b.label == "Create job").click().run()
    (job,) = all_jobs(engine)
    assert (job.name, job.accounts_count) == ("Energy", 2)
    assert (job.schedule_type, job.schedule_config) == ("weekly", {"day_of_week": 1, "hour": 9, "minute": 0})
    with transaction(engine) as session:
        assert session.scalars(select(Portal.authorised_by)).one() == olive.user_id


def test_new_job_needs_the_confirmation_for_a_new_portal(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    app = open_page(olive, "new_job")
    app.text_input(key="new-name").set_value("Energy")
    app.file_uploader[0].upload("accounts.csv", CSV, "text/csv")
    app.text_input(key="new-login").set_value("https://portal.example/login")
    app.text_input(key="new-billing").set_value("https://portal.example/bills")
    app.run()
    next(b for b in app.button if b.label == "Create job").click().run()
    assert "Confirm that you are authorised" in texts(app)
    assert plain("portal.example") in app.checkbox(key="new-authorised").label
    assert all_jobs(engine) == []


def test_accounts_preview_masks_passwords_and_refuses_bad_files(olive: Viewer, open_page: OpenPage) -> None:
    app = open_page(olive, "new_job")
    app.file_uploader[0].upload("accounts.csv", CSV, "text/csv")
    app.run()
    assert "ada@example.com" in texts(app)
    assert "s3cret" not in texts(app)
    app = open_page(olive, "new_job")
    app.file_uploader[0].upload("accounts.csv", b"username,password\nada@example.com,\n", "text/csv")
    app.run()
    assert "password is empty" in texts(app).replace("\\", "")


def test_schedule_preview_follows_what_is_typed(olive: Viewer, open_page: OpenPage) -> None:
    app = open_page(olive, "new_job")
    assert "Every Monday at 09:00" in words(app)
    app.segmented_control(key="new-type").set_value("custom").run()
    app.text_input(key="new-cron").set_value("0 25 * * *").run()
    assert 'hour "25"' in texts(app)
    app.text_input(key="new-cron").set_value("30 6 1 * *").run()
    assert "06:30" in words(app)
    app.text_input(key="new-cron").set_value("**x** * * * *").run()
    assert "**x**" not in texts(app)


def test_job_page_runs_stops_pauses_and_resumes(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive, schedule=DAILY, next_run=datetime.now(UTC) + timedelta(hours=1))
    app = open_page(olive, "job", id=job.id)
    app.button(key="job-run").click().run()
    assert all_jobs(engine)[0].status == "queued"
    app.button(key="job-stop").click().run()
    assert all_jobs(engine)[0].status == "stopped"
    app.button(key="job-pause").click().run()
    assert all_jobs(engine)[0].paused_at is not None
    app.button(key="job-resume").click().run()
    assert "Nothing runs now; next run" in words(app)
    assert all_jobs(engine)[0].paused_at is not None
    app.button(key="job-resume").click()  # a test draws the dialog only in the run in which it is opened
    app.button(key="resume-confirm").click().run()
    assert all_jobs(engine)[0].paused_at is None
    assert not app.exception


def test_job_page_of_a_viewer_has_no_buttons_that_change(engine: Engine, vera: Viewer, open_page: OpenPage) -> None:
    with transaction(engine) as session:
        job = make_job(session, vera, name="Hers to see")
    app = open_page(vera, "job", id=job.id)
    assert "Hers to see" in texts(app)
    assert [b.label for b in app.button] == []


def test_job_page_lets_an_account_be_tried_again(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive, accounts=0)
        account = make_account(session, job, "ada@example.com")
        account.status, account.status_reason = AccountStatus.NEEDS_ATTENTION, "the portal refused the sign-in"
        account_id = account.id
    app = open_page(olive, "job", id=job.id)
    assert "the portal refused the sign-in" in texts(app)
    app.button(key=f"clear-{account_id}").click().run()
    assert "the portal refused the sign-in" not in texts(app)


def test_jobs_page_pages_through_many_jobs(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    start = datetime.now(UTC)
    with transaction(engine) as session:
        for number in range(60):
            make_job(session, olive, name=f"Job {number:02}", accounts=0, created_at=start + timedelta(seconds=number))
    app = open_page(olive, "jobs")
    first = list(app.dataframe[0].value["name"])
    next(b for b in app.button if b.label == "Older").click().run()
    second = list(app.dataframe[0].value["name"])
    assert first + second == [f"Job {number:02}" for number in reversed(range(60))]
    next(b for b in app.button if b.label == "Newer").click().run()
    assert list(app.dataframe[0].value["name"]) == first


def test_run_page_shows_results_with_causes_and_advice(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    now = datetime.now(UTC)
    with transaction(engine) as session:
        job = make_job(session, olive, accounts=0)
        good, bad = make_account(session, job, "good@example.com", 2), make_account(session, job, "bad@example.com", 3)
        run = make_run(session, job, trigger=RunTrigger.MANUAL, status=RunStatus.RUNNING, at=now, accounts_total=2)
        assert run.lease_token is not None
        for account, status, error in (
            (good, ResultStatus.SUCCESS, None),
            (bad, ResultStatus.WRONG_CREDENTIALS, "the portal said *no* <b>x</b>"),
        ):
            record = ResultRecord(account.id, account.username, account.row_number, status, now, error)
            record_results(session, run.id, run.lease_token, [record], now)
    app = open_page(olive, "run", id=str(run.id))
    shown = texts(app)
    assert "2 of 2 accounts" in app.get("progress")[0].proto.text
    assert "Correct the password in the CSV" in shown
    assert "The portal said \\*no\\* \\<b\\>x\\</b\\>" in shown
    assert list(app.dataframe[0].value["username"]) == ["bad@example.com", "good@example.com"]
    assert not app.exception


def test_run_page_says_once_what_made_many_accounts_fail(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    now = datetime.now(UTC)
    with transaction(engine) as session:
        job = make_job(session, olive, accounts=0)
        accounts = [make_account(session, job, f"{n}@example.com", n) for n in range(2, 7)]
        run = make_run(session, job, trigger=RunTrigger.MANUAL, status=RunStatus.RUNNING, at=now, accounts_total=5)
        assert run.lease_token is not None
        for account in accounts:
            why = "another reason" if account is accounts[-1] else "connection refused"
            record = ResultRecord(account.id, account.username, account.row_number, ResultStatus.PORTAL_ERROR, now, why)
            record_results(session, run.id, run.lease_token, [record], now)
    app = open_page(olive, "run", id=str(run.id))
    assert [m.value for m in app.markdown if m.value == "Connection refused"] == ["Connection refused"]
    assert [t.value for t in app.text] == [
        "4 accounts: 2@example.com, 3@example.com, 4@example.com and 1 more",
        "6@example.com",
    ]


@pytest.mark.parametrize(
    ("trigger", "seconds", "shown"),
    [
        (RunTrigger.SCHEDULE, 0.012, "12 ms late"),
        (RunTrigger.MANUAL, 192, "waited 3 min 12 s to start"),
    ],
)
def test_run_and_job_pages_say_how_late_a_run_began(
    engine: Engine, olive: Viewer, open_page: OpenPage, trigger: RunTrigger, seconds: float, shown: str
) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive)
        status = RunStatus.COMPLETED
        run = make_run(session, job, trigger=trigger, status=status, started_at=NOW, lateness_seconds=seconds)
    assert shown in words(open_page(olive, "run", id=str(run.id)))
    (late_by,) = open_page(olive, "job", id=job.id).dataframe[0].value["lateness"]
    assert late_by in shown


def test_run_page_shows_who_worked_on_a_run_that_was_given_back(
    engine: Engine, olive: Viewer, open_page: OpenPage
) -> None:
    with transaction(engine) as session:
        run = make_run(session, make_job(session, olive), status=RunStatus.COMPLETED, started_at=NOW)
        worker = register_instance(session, host="north", pid=1, version="1", slots=1, now=NOW)
        times = [(worker, 0, 5, "queued"), ("gone", 7, 9, "completed")]
        for name, began, ended, outcome in times:
            began_at, ended_at = NOW + timedelta(seconds=began), NOW + timedelta(seconds=ended)
            session.add(
                RunAttempt(
                    run_id=run.id,
                    attempt=1,
                    worker=name,
                    lease_token=uuid4(),
                    started_at=began_at,
                    ended_at=ended_at,
                    outcome=outcome,
                )
            )
            session.flush()
    frame = open_page(olive, "run", id=str(run.id)).dataframe[0].value
    assert list(frame["host"]) == ["north", "Not known any more"]
    assert list(frame["ended"]) == [["↩ Given back"], ["✓ Completed"]]
    assert list(frame["took"]) == ["5.0 s", "2.0 s"]


def test_run_page_of_a_run_that_was_taken_once_shows_no_attempts(
    engine: Engine, olive: Viewer, open_page: OpenPage
) -> None:
    with transaction(engine) as session:
        run = make_run(session, make_job(session, olive))
        claim_runs(session, NOW, worker="w", slots=1, lease=timedelta(seconds=30))
    app = open_page(olive, "run", id=str(run.id))
    assert [len(app.dataframe), len(app.expander), len(app.exception)] == [0, 0, 0]


def test_job_name_is_shown_as_it_is_typed_everywhere(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    name = "**x** <b>y</b> [l](http://e) :red[z] $a$"
    with transaction(engine) as session:
        job = make_job(session, olive, name=name)
        run = make_run(session, job)
    app = open_page(olive, "job", id=job.id)
    assert app.title[0].value == plain(name)
    app.button(key="job-delete").click().run()
    assert any(f"**{plain(name)}** goes" in m.value for m in app.markdown)
    app = open_page(olive, "run", id=str(run.id))
    assert app.get("page_link")[0].proto.label == plain(name)


def test_job_page_with_a_runs_number_shows_its_job_so_that_back_works(
    engine: Engine, olive: Viewer, otto: Viewer, open_page: OpenPage
) -> None:
    with transaction(engine) as session:
        run = make_run(session, make_job(session, olive, name="Energy"))
    assert open_page(olive, "job", id=str(run.id)).title[0].value == "Energy"
    assert "There is no such job" in texts(open_page(otto, "job", id=str(run.id)))
    assert "There is no such job" in texts(open_page(olive, "job", id="9" * 30))


def test_edit_to_another_portal_asks_for_its_confirmation(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive, portal_id=make_portal(session).id)
    key = f"edit-{job.id}-{job.version}"
    app = open_page(olive, "job", id=job.id)
    app.button(key="job-edit").click().run()
    assert not app.checkbox
    app.text_input(key=f"{key}-login").set_value("https://moved.example/login")
    app.button(key="job-edit").click()  # a test draws the dialog only in the run in which it is opened
    app.button(key=f"{key}-save").click().run()
    assert "Confirm that you are authorised" in texts(app)
    app.checkbox(key=f"{key}-authorised").check()
    app.button(key="job-edit").click()
    app.button(key=f"{key}-save").click().run()
    assert all_jobs(engine)[0].login_url == "https://moved.example/login"


def test_run_page_keeps_its_tabs_while_results_arrive(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    now = datetime.now(UTC)
    with transaction(engine) as session:
        job = make_job(session, olive, accounts=0)
        account = make_account(session, job, "ada@example.com", 2)
        run = make_run(session, job, trigger=RunTrigger.MANUAL, status=RunStatus.RUNNING, at=now, accounts_total=2)
    app = open_page(olive, "run", id=str(run.id))
    before = [tab.label for tab in app.tabs]
    with transaction(engine) as session:
        assert run.lease_token is not None
        record = ResultRecord(account.id, account.username, account.row_number, ResultStatus.SUCCESS, now)
        record_results(session, run.id, run.lease_token, [record], now)
    app.run()
    assert [tab.label for tab in app.tabs] == before == ["Accounts", "Bills", "Log"]


def test_stopped_run_says_what_was_left_out(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    now = datetime.now(UTC)
    with transaction(engine) as session:
        job = make_job(session, olive, accounts=0)
        run = make_run(session, job, status=RunStatus.STOPPED, at=now, accounts_total=5, stop_requested_at=now)
    shown = open_page(olive, "run", id=str(run.id)).get("progress")[0].proto.text
    assert "5 left out" in shown
    assert "stopping" not in shown


def test_new_job_page_sends_a_viewer_back_to_the_jobs(vera: Viewer, open_page: OpenPage) -> None:
    app = open_page(vera, "new_job")
    assert "You are signed in as a viewer" in texts(app)
    assert app.get("page_link")[0].proto.label == "Back to the jobs"
