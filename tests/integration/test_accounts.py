"""Accounts: replaced as a whole, matched by name, never tried again without a reason."""

from collections.abc import Sequence

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from db.accounts import (
    NAMES_SHOWN,
    AccountChanges,
    AccountsPreview,
    NewAccount,
    clear_attention,
    list_accounts,
    list_accounts_by_id,
    list_accounts_needing_attention,
    list_unfinished_account_ids,
    preview_accounts,
    replace_accounts,
)
from db.bills import list_run_bills
from db.encryption import SecretBox
from db.engine import transaction
from db.errors import NotFoundError
from db.models import Account, AccountStatus, Bill, Job, Result, ResultStatus, Role, Run, RunStatus
from db.results import list_results
from db.viewers import Viewer
from tests.factories import BOX, NOW, make_job, make_run, make_viewer

ANN, BOB = "ann@example.com", "bob@example.com"
ONE = "one"


@pytest.fixture
def job_id(engine: Engine) -> str:
    with transaction(engine) as session:
        return make_job(session, make_viewer(session), accounts=0).id


def row(username: str, secret: str = ONE, number: int = 2, **extra: str) -> NewAccount:
    return NewAccount(number, username, secret, extra)


def replace(engine: Engine, job_id: str, *rows: NewAccount, box: SecretBox = BOX) -> AccountChanges:
    with transaction(engine) as session:
        return replace_accounts(session, session.get_one(Job, job_id), rows, box)


def read(engine: Engine, job_id: str) -> Sequence[Account]:
    with transaction(engine) as session:
        return list_accounts(session, session.get_one(Job, job_id))


def mark(engine: Engine) -> None:
    with transaction(engine) as session:
        for account in session.scalars(select(Account)):
            account.status, account.status_reason = AccountStatus.NEEDS_ATTENTION, "wrong password"


def statuses(engine: Engine, job_id: str) -> dict[str, str]:
    return {a.username: a.status for a in read(engine, job_id)}


def test_first_rows_are_all_new(engine: Engine, job_id: str) -> None:
    assert replace(engine, job_id, row(BOB, number=3), row(ANN, customer="007")) == AccountChanges(2, 0, 0, 0)
    ann, bob = read(engine, job_id)
    assert (ann.username, ann.row_number, ann.extra, BOX.decrypt(ann.secret)) == (ANN, 2, {"customer": "007"}, "one")
    assert bob.row_number == 3
    with transaction(engine) as session:
        assert session.get_one(Job, job_id).accounts_count == 2


def test_same_rows_again_change_nothing(engine: Engine, job_id: str) -> None:
    replace(engine, job_id, row(ANN), row(BOB, number=3))
    before = [(a.id, a.secret) for a in read(engine, job_id)]
    mark(engine)
    assert replace(engine, job_id, row(ANN), row(BOB, number=3)) == AccountChanges(0, 0, 0, 2)
    assert [(a.id, a.secret) for a in read(engine, job_id)] == before
    assert set(statuses(engine, job_id).values()) == {AccountStatus.NEEDS_ATTENTION}


def test_place_in_the_file_is_no_change(engine: Engine, job_id: str) -> None:
    replace(engine, job_id, row(ANN, number=2), row(BOB, number=3))
    mark(engine)
    assert replace(engine, job_id, row(BOB, number=2), row(ANN, number=3)) == AccountChanges(0, 0, 0, 2)
    assert [a.username for a in read(engine, job_id)] == [BOB, ANN]
    assert set(statuses(engine, job_id).values()) == {AccountStatus.NEEDS_ATTENTION}


@pytest.mark.parametrize(
    "changed",
    [row(ANN, secret="two"), row("Ann@Example.com"), row(ANN, customer="008")],
    ids=["password", "spelling", "other column"],
)
def test_changed_row_makes_the_account_ready_again(engine: Engine, job_id: str, changed: NewAccount) -> None:
    replace(engine, job_id, row(ANN), row(BOB, number=3))
    ids = [a.id for a in read(engine, job_id)]
    mark(engine)
    has_other_password = int(changed.password != ONE)
    assert replace(engine, job_id, changed, row(BOB, number=3)) == AccountChanges(0, 1, 0, 1, has_other_password)
    ann, bob = read(engine, job_id)
    assert [ann.id, bob.id] == ids
    assert (ann.username, ann.status, ann.status_reason) == (changed.username, AccountStatus.READY, None)
    assert (BOX.decrypt(ann.secret), ann.extra) == (changed.password, changed.extra)
    assert bob.status == AccountStatus.NEEDS_ATTENTION


def test_bills_follow_a_new_spelling_of_the_name(engine: Engine, job_id: str) -> None:
    replace(engine, job_id, row(ANN), row(BOB, number=3))
    with transaction(engine) as session:
        session.add_all(Bill(session_id=job_id, username=name, bill_key="1") for name in (ANN, BOB))
    replace(engine, job_id, row("ANN@example.com"), row(BOB, number=3))
    with transaction(engine) as session:
        assert sorted(session.scalars(select(Bill.username))) == ["ANN@example.com", BOB]


def test_rows_that_are_gone_are_removed(engine: Engine, job_id: str) -> None:
    replace(engine, job_id, row(ANN), row(BOB, number=3))
    assert replace(engine, job_id, row(BOB), row("eve@example.com", number=3)) == AccountChanges(1, 0, 1, 1)
    assert [a.username for a in read(engine, job_id)] == [BOB, "eve@example.com"]


def preview(engine: Engine, job_id: str, *rows: NewAccount, box: SecretBox = BOX) -> AccountsPreview:
    with transaction(engine) as session:
        return preview_accounts(session, session.get_one(Job, job_id), rows, box)


def test_preview_tells_what_replacing_does_and_changes_nothing(engine: Engine, job_id: str) -> None:
    names = [f"{name}@example.com" for name in ("ann", "bob", "cem", "dan", "eve")]
    replace(engine, job_id, *(row(name, number=n) for n, name in enumerate(names, 2)))
    mark(engine)
    before = [(a.id, a.secret, a.status, a.row_number) for a in read(engine, job_id)]
    ann, bob, cem, dan, _ = names
    rows = [row("new@example.com"), row(dan), row(cem, customer="7"), row(bob.upper(), secret="two"), row(ann, "two")]
    told = preview(engine, job_id, *rows)
    assert [(a.id, a.secret, a.status, a.row_number) for a in read(engine, job_id)] == before
    assert told.changes == AccountChanges(1, 3, 1, 1, 2) == replace(engine, job_id, *rows)
    assert (told.added, told.changed_password) == (["new@example.com"], [bob.upper(), ann])
    assert (told.changed_otherwise, told.removed) == ([cem], ["eve@example.com"])
    assert (told.ready_again, told.still_waiting) == (3, 1)
    assert [name for name, status in statuses(engine, job_id).items() if status == AccountStatus.NEEDS_ATTENTION] == [
        dan
    ]
    assert preview(engine, job_id, *rows).changes == AccountChanges(0, 0, 0, 5)


def test_preview_names_no_more_than_a_page_of_accounts(engine: Engine, job_id: str) -> None:
    rows = [row(f"{n}@example.com", number=n) for n in range(NAMES_SHOWN + 7)]
    told = preview(engine, job_id, *rows)
    assert (told.changes.added, len(told.added)) == (NAMES_SHOWN + 7, NAMES_SHOWN)
    replace(engine, job_id, *rows)
    assert len(preview(engine, job_id).removed) == NAMES_SHOWN


def test_preview_knows_passwords_of_an_earlier_key(engine: Engine, job_id: str) -> None:
    old_key, new_key = (
        "the old key of more than thirty-two characters",
        "the new key of more than thirty-two characters",
    )
    replace(engine, job_id, row(ANN), row(BOB), box=SecretBox((old_key,)))
    told = preview(engine, job_id, row(ANN), row(BOB, secret="two"), box=SecretBox((new_key, old_key)))
    assert told.changes == AccountChanges(0, 1, 0, 1, 1)


def test_history_of_every_account_stays_readable(engine: Engine, job_id: str) -> None:
    replace(engine, job_id, row(ANN), row(BOB, number=3))
    with transaction(engine) as session:
        job = session.get_one(Job, job_id)
        run = make_run(session, job, status=RunStatus.COMPLETED)
        for account in list_accounts(session, job):
            session.add(Bill(session_id=job_id, username=account.username, bill_key="1", last_seen_run=run.id))
            session.add(
                Result(
                    run_id=run.id,
                    session_id=job_id,
                    account_id=account.id,
                    username=account.username,
                    status=ResultStatus.SUCCESS,
                    created_at=NOW,
                )
            )
    assert replace(engine, job_id, row(ANN)) == AccountChanges(0, 0, 1, 1)
    with transaction(engine) as session:
        job = session.get_one(Job, job_id)
        viewer = Viewer(job.user_id, "olive", "Olive", Role.OPERATOR)
        results, _ = list_results(session, viewer, run.id)
        assert sorted((r.username, r.account_id is None) for r in results) == [(ANN, False), (BOB, True)]
        assert sorted(bill.username for bill in list_run_bills(session, viewer, run.id)) == [ANN, BOB]


def test_password_is_encrypted_anew_when_the_key_changes_and_the_mark_stays(engine: Engine, job_id: str) -> None:
    old_key, new_key = (
        "the old key of more than thirty-two characters",
        "the new key of more than thirty-two characters",
    )
    replace(engine, job_id, row(ANN), box=SecretBox((old_key,)))
    mark(engine)
    assert replace(engine, job_id, row(ANN), box=SecretBox((new_key, old_key))) == AccountChanges(0, 0, 0, 1)
    (ann,) = read(engine, job_id)
    assert SecretBox((new_key,)).decrypt(ann.secret) == "one"
    assert ann.fingerprint == SecretBox((new_key,)).fingerprint("one")
    assert ann.status == AccountStatus.NEEDS_ATTENTION


def test_accounts_of_other_jobs_are_left_alone(engine: Engine, job_id: str) -> None:
    with transaction(engine) as session:
        other = make_job(session, make_viewer(session, "other"), accounts=0).id
    replace(engine, other, row(ANN))
    replace(engine, job_id, row(ANN))
    replace(engine, job_id)
    assert len(read(engine, other)) == 1
    assert read(engine, job_id) == []


def test_attention_is_listed_and_cleared(engine: Engine, job_id: str) -> None:
    replace(engine, job_id, row(ANN), row(BOB, number=3))
    mark(engine)
    with transaction(engine) as session:
        job = session.get_one(Job, job_id)
        ann, bob = list_accounts_needing_attention(session, job, limit=5)
        clear_attention(session, job, ann.id)
        with pytest.raises(NotFoundError):
            clear_attention(session, make_job(session, make_viewer(session, "other")), bob.id)
    assert statuses(engine, job_id) == {ANN: AccountStatus.READY, BOB: AccountStatus.NEEDS_ATTENTION}


def test_unfinished_accounts_are_those_without_a_result_in_this_run(engine: Engine, job_id: str) -> None:
    replace(engine, job_id, *(row(f"{n}@example.com", number=n) for n in (4, 2, 3)))
    with transaction(engine) as session:
        job = session.get_one(Job, job_id)
        earlier, run = make_run(session, job, status=RunStatus.COMPLETED), make_run(session, job)
        for account in list_accounts(session, job):
            for of_run in [earlier] + [run] * (account.row_number == 3):
                session.add(
                    Result(
                        run_id=of_run.id,
                        session_id=job_id,
                        account_id=account.id,
                        username=account.username,
                        status=ResultStatus.SUCCESS,
                        created_at=NOW,
                    )
                )
        session.flush()
        assert [a.row_number for a in unfinished_accounts(session, run)] == [2, 4]
        assert unfinished_accounts(session, earlier) == []


def unfinished_accounts(session: Session, run: Run) -> list[Account]:
    return [*list_accounts_by_id(session, list_unfinished_account_ids(session, run))]
