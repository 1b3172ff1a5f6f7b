"""Replacing a job's accounts on its page: what would change is shown first, and only that is saved."""

import pytest
from sqlalchemy import Engine, select
from streamlit.testing.v1 import AppTest

from db.accounts import AccountChanges, NewAccount, list_accounts, replace_accounts
from db.encryption import open_secret_box
from db.engine import transaction
from db.jobs import update_job
from db.models import Account, AccountStatus, Job
from db.viewers import Viewer
from settings import get_settings
from tests.factories import NOW, make_job
from tests.ui.conftest import RUN_SECONDS, OpenPage, words
from ui.accounts_dialog import describe_changes

OLD = {f"{name}@example.com": f"old-{name}" for name in ("ann", "bob", "cem", "dan")}
NEW = {
    "ann@example.com": "s3cret-ann",
    "bob@example.com": "old-bob",
    "dan@example.com": "old-dan",
    "eve@example.com": "x",
}
CSV = "".join(f"{name},{password}\n" for name, password in {"username": "password", **NEW}.items()).encode()


@pytest.fixture
def job(engine: Engine, olive: Viewer, open_page: OpenPage) -> Job:
    """A job with four accounts, of which Ann and Bob are left alone."""
    with transaction(engine) as session:
        job = make_job(session, olive, accounts=0)
        rows = [NewAccount(n, name, password, {}) for n, (name, password) in enumerate(OLD.items(), 2)]
        replace_accounts(session, job, rows, open_secret_box(get_settings()))
        for account in session.scalars(select(Account).where(Account.username < "c")):
            account.status, account.status_reason = AccountStatus.NEEDS_ATTENTION, "refused"
    return job


def open_dialog(viewer: Viewer, job: Job) -> AppTest:
    """The dialog, on the job as it is now until it is closed."""

    def dialog(viewer, job):
        from ui.accounts_dialog import replace_accounts

        replace_accounts(viewer, job)

    return AppTest.from_function(dialog, args=(viewer, job), default_timeout=RUN_SECONDS).run()


def upload(app: AppTest, csv: bytes) -> AppTest:
    app.file_uploader[0].upload("accounts.csv", csv, "text/csv")
    return app.run()


def press(app: AppTest, label: str) -> AppTest:
    return next(b for b in app.button if b.label == label).click().run()


def names(engine: Engine, job_id: str) -> list[str]:
    with transaction(engine) as session:
        return [a.username for a in list_accounts(session, session.get_one(Job, job_id))]


def test_changes_are_shown_before_they_are_saved(engine: Engine, olive: Viewer, job: Job) -> None:
    app = upload(open_dialog(olive, job), CSV)
    assert app.info[0].value == "**1 added, 1 changed password, 1 removed, 2 unchanged**"
    changes = app.dataframe[1].value
    assert list(zip(changes["change"], changes["username"], strict=True)) == [
        ("added", "eve@example.com"),
        ("changed password", "ann@example.com"),
        ("removed", "cem@example.com"),
    ]
    shown = words(app)
    assert "Results and bills so far stay readable, also those of removed accounts." in shown
    assert "Left alone until now, and signed in to again by the next run: 1." in shown
    assert "Still left alone, because their rows are the same as before: 1." in shown
    assert "s3cret" not in shown
    assert names(engine, job.id) == list(OLD)

    app = press(app, "Replace accounts")
    assert app.session_state["job-message"] == (
        "Accounts replaced: 1 added, 1 changed password, 1 removed, 2 unchanged."
    )
    assert names(engine, job.id) == list(NEW)
    with transaction(engine) as session:
        waiting = select(Account.username).where(Account.status == AccountStatus.NEEDS_ATTENTION)
        assert session.scalars(waiting).all() == ["bob@example.com"]


@pytest.mark.parametrize("when", ["before the upload", "after it"])
def test_a_job_that_was_changed_meanwhile_keeps_its_accounts(
    engine: Engine, olive: Viewer, job: Job, when: str
) -> None:
    app = open_dialog(olive, job)
    if when == "after it":
        app = upload(app, CSV)
        assert app.info
    with transaction(engine) as session:
        update_job(session, olive, job.id, now=NOW, name="Another name")
    if when == "before the upload":
        app = upload(app, CSV)
        assert "Somebody changed this job meanwhile." in words(app)
        assert not app.info
    app = press(app, "Replace accounts")
    assert "Not replaced" in words(app)
    assert names(engine, job.id) == list(OLD)


def test_a_file_that_lacks_a_column_of_the_addresses_is_refused(engine: Engine, olive: Viewer, job: Job) -> None:
    job.billing_url = "https://portal.example/{branch}"
    app = press(upload(open_dialog(olive, job), CSV), "Replace accounts")
    assert "This file does not fit the job's addresses" in words(app)
    assert names(engine, job.id) == list(OLD)


def test_nothing_is_replaced_without_a_file(engine: Engine, olive: Viewer, job: Job) -> None:
    app = open_dialog(olive, job)
    app = press(app, "Replace accounts")
    assert "Not replaced: choose a file that can be used." in words(app)
    assert names(engine, job.id) == list(OLD)


def test_the_page_opens_the_dialog(olive: Viewer, job: Job, open_page: OpenPage) -> None:
    app = open_page(olive, "job", id=job.id).button(key="job-accounts").click().run()
    app.file_uploader[0].upload("accounts.csv", CSV, "text/csv")
    app.button(key="job-accounts").click().run()
    assert "1 added, 1 changed password, 1 removed, 2 unchanged" in words(app)


def test_a_file_without_any_of_the_accounts_is_warned_of(olive: Viewer, job: Job) -> None:
    app = open_dialog(olive, job)
    assert [w.value for w in upload(app, b"username,password\nzoe@example.com,x\n").warning] == [
        "None of the job's 4 accounts is in this file: every one is removed."
    ]
    assert not upload(app, CSV).warning


def test_changes_are_told_in_numbers() -> None:
    assert describe_changes(AccountChanges(3, 2, 1, 14, 2)) == "3 added, 2 changed password, 1 removed, 14 unchanged"
    assert describe_changes(AccountChanges(0, 1200, 0, 1, 0)) == (
        "0 added, 0 changed password, 1,200 changed otherwise, 0 removed, 1 unchanged"
    )
