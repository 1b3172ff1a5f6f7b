"""Results and bills: written once an account and run, and only by the worker that holds the run."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import IntegrityError

from db.bill_versions import MAX_VERSIONS, VERSIONED, list_versions
from db.bills import BillRecord, list_known_documents, list_run_bills
from db.engine import transaction
from db.errors import LeaseLostError
from db.models import (
    Account,
    AccountStatus,
    Bill,
    BillVersion,
    Job,
    OrphanedFile,
    Result,
    ResultStatus,
    Role,
    Run,
    RunStatus,
    RunTrigger,
)
from db.results import ResultRecord, count_results, list_results, record_results, start_accounts
from db.viewers import Viewer
from tests.factories import NOW, make_job, make_run, make_viewer

WATER = BillRecord(
    bill_key="00017",
    number="00017",
    issued_on=date(2025, 1, 2),
    due_on=date(2025, 1, 31),
    amount=Decimal("12.50"),
    currency="EUR",
    portal_status="Unpaid",
    fields={"Invoice": "00017"},
    documents=[{"file_url": "file:///a.pdf", "sha256": "aa"}],
    file_url="file:///a.pdf",
    sha256="aa",
)


class Import:
    """A job with accounts, and runs of it one after the other."""

    def __init__(self, engine: Engine, accounts: int = 3) -> None:
        self.engine = engine
        with transaction(engine) as session:
            self.viewer: Viewer = make_viewer(session, f"user{uuid4()}", Role.OPERATOR)
            self.job = make_job(session, self.viewer, accounts=accounts)
            query = select(Account).where(Account.session_id == self.job.id).order_by(Account.row_number)
            self.accounts = session.scalars(query).all()
        self.run = self.start()

    def start(self) -> Run:
        with transaction(self.engine) as session:
            session.execute(
                text(
                    "UPDATE import_runs SET status = 'completed', finished_at = now(), lease_token = NULL,"
                    " lease_until = NULL WHERE status = 'running' AND session_id = :id"
                ),
                {"id": self.job.id},
            )
            self.run = make_run(session, session.get_one(Job, self.job.id), status=RunStatus.RUNNING)
        return self.run

    def record(
        self,
        *bills: BillRecord,
        account: int = 0,
        status: ResultStatus = ResultStatus.SUCCESS,
        error: str = "e\0",
    ) -> Result:
        row = self.accounts[account]
        record = ResultRecord(row.id, row.username, row.row_number, status, NOW, error=error, bills=bills)
        with transaction(self.engine) as session:
            assert self.run.lease_token is not None
            record_results(session, self.run.id, self.run.lease_token, [record], NOW + timedelta(seconds=9))
            return session.scalars(
                select(Result).where(Result.run_id == self.run.id, Result.account_id == row.id)
            ).one()

    def read_run(self) -> Run:
        with transaction(self.engine) as session:
            return session.get_one(Run, self.run.id)

    def read_account(self, number: int = 0) -> Account:
        with transaction(self.engine) as session:
            return session.get_one(Account, self.accounts[number].id)

    def read_bill(self, key: str = "00017") -> Bill:
        with transaction(self.engine) as session:
            return session.scalars(select(Bill).where(Bill.bill_key == key, Bill.session_id == self.job.id)).one()

    def read_versions(self) -> Sequence[BillVersion]:
        with transaction(self.engine) as session:
            return list_versions(session, self.read_bill())

    def list_known(self) -> list[dict[str, Any]]:
        with transaction(self.engine) as session:
            name = self.accounts[0].username
            return list_known_documents(session, session_id=self.job.id, username=name, limit=1)


@pytest.fixture
def work(engine: Engine) -> Import:
    return Import(engine)


# Results


def test_result_is_stored_with_its_bills_and_counted(work: Import) -> None:
    result = work.record(WATER, replace(WATER, bill_key="2", documents=[], file_url=None))
    assert (result.session_id, result.username, result.row_number) == (work.job.id, work.accounts[0].username, 2)
    assert (result.bills_new, result.bills_seen, result.file_url) == (2, 2, "file:///a.pdf")
    assert (result.started_at, result.finished_at) == (NOW, NOW + timedelta(seconds=9))
    assert result.error == "e\ufffd"
    run = work.read_run()
    assert (run.accounts_done, run.accounts_succeeded) == (1, 1)
    assert work.read_account().last_success_at == NOW + timedelta(seconds=9)


def test_account_that_is_left_alone_keeps_the_reason_of_the_first_time(work: Import) -> None:
    work.record(status=ResultStatus.WRONG_CREDENTIALS, error="refused")
    for _ in range(2):
        work.start()
        reason = work.read_account().status_reason
        work.record(status=ResultStatus.NEEDS_ATTENTION, error=f"left alone since an earlier run: {reason}")
    assert work.read_account().status_reason == "refused"


@pytest.mark.parametrize("status", list(ResultStatus))
def test_account_waits_for_a_person_after_what_must_not_be_repeated(work: Import, status: ResultStatus) -> None:
    work.record(status=status)
    account = work.read_account()
    needs_attention = status in (ResultStatus.WRONG_CREDENTIALS, ResultStatus.NEEDS_ATTENTION)
    assert (account.status == AccountStatus.NEEDS_ATTENTION) == needs_attention
    assert (account.status_reason == "e\ufffd") == needs_attention
    succeeded = status in (ResultStatus.SUCCESS, ResultStatus.NO_BILLS)
    assert work.read_run().accounts_succeeded == int(succeeded)
    assert (account.last_success_at is not None) == succeeded


def test_account_gets_one_result_a_run(work: Import) -> None:
    work.record()
    with pytest.raises(IntegrityError, match="uq_import_results_run_id_account_id"):
        work.record(WATER)
    assert work.read_run().accounts_done == 1
    work.start()
    work.record()


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        (RunTrigger.SCHEDULE, 60.25),  # since it was due
        (RunTrigger.MANUAL, 40.25),  # since somebody asked
        (RunTrigger.API, 40.25),
        (RunTrigger.TEST, 40.25),
        (RunTrigger.RETRY, 10.25),  # since its pause was over
    ],
)
def test_lateness_counts_from_when_the_run_was_due(engine: Engine, trigger: RunTrigger, expected: float) -> None:
    with transaction(engine) as session:
        job = make_job(session, make_viewer(session))
        run = make_run(
            session,
            job,
            trigger=trigger,
            status=RunStatus.RUNNING,
            scheduled_for=NOW - timedelta(seconds=60),
            queued_at=NOW - timedelta(seconds=40),
            run_after=NOW - timedelta(seconds=10),
        )
    assert start(engine, run, seconds=0.25).lateness_seconds == pytest.approx(expected)


def test_lateness_is_that_of_the_first_start(engine: Engine, work: Import) -> None:
    assert start(engine, work.run, seconds=3).lateness_seconds == 3
    assert start(engine, work.run, seconds=99).lateness_seconds == 3


def test_run_is_never_early_by_the_clock_of_another_machine(engine: Engine, work: Import) -> None:
    assert start(engine, work.run, seconds=-0.5).lateness_seconds == 0


def start(engine: Engine, run: Run, *, seconds: float) -> Run:
    """Its process begins that long after NOW."""
    assert run.lease_token is not None
    with transaction(engine) as session:
        began = NOW + timedelta(seconds=seconds)
        start_accounts(session, run.id, run.lease_token, accounts_total=3, started_at=began)
    with transaction(engine) as session:
        return session.get_one(Run, run.id)


def test_worker_that_lost_its_claim_stores_nothing(engine: Engine, work: Import) -> None:
    with transaction(engine) as session:
        session.execute(text("UPDATE import_runs SET lease_token = gen_random_uuid()"))
    with pytest.raises(LeaseLostError):
        work.record(WATER, status=ResultStatus.WRONG_CREDENTIALS)
    old_token = work.run.lease_token or uuid4()
    with pytest.raises(LeaseLostError), transaction(engine) as session:
        start_accounts(session, work.run.id, old_token, accounts_total=3, started_at=NOW)
    with transaction(engine) as session:
        assert session.scalar(select(func.count()).select_from(Result)) == 0
        assert session.scalar(select(func.count()).select_from(Bill)) == 0
    assert (work.read_run().accounts_done, work.read_account().status) == (0, AccountStatus.READY)


def test_results_come_in_the_order_of_the_file_page_by_page(engine: Engine) -> None:
    work = Import(engine, accounts=7)
    for n in (4, 2, 6, 0, 5, 1, 3):
        work.record(account=n)
    seen: list[int | None] = []
    after: tuple[int, str] | None = None
    while True:
        with transaction(engine) as session:
            page, after = list_results(session, work.viewer, work.run.id, after=after, limit=3)
        seen += [r.row_number for r in page]
        if after is None:
            break
    assert seen == [2, 3, 4, 5, 6, 7, 8]


def test_results_are_counted_by_status(engine: Engine, work: Import) -> None:
    work.record(account=0)
    work.record(account=1, status=ResultStatus.FAILED)
    work.record(account=2)
    with transaction(engine) as session:
        assert count_results(session, work.run.id) == {ResultStatus.SUCCESS: 2, ResultStatus.FAILED: 1}


def test_result_outlives_its_account(engine: Engine, work: Import) -> None:
    work.record(WATER)
    with transaction(engine) as session:
        session.execute(text("DELETE FROM accounts"))
    with transaction(engine) as session:
        result = session.scalars(select(Result)).one()
        assert (result.account_id, result.username) == (None, work.accounts[0].username)
    assert work.read_bill().account_id is None


# Bills


def test_known_bill_is_seen_again_and_not_new(work: Import) -> None:
    first = work.run
    work.record(WATER)
    second = work.start()
    assert work.record(WATER).bills_new == 0
    bill = work.read_bill()
    assert (bill.first_seen_run, bill.last_seen_run, bill.changed_run) == (first.id, second.id, None)
    assert (bill.number, bill.amount, bill.fields) == ("00017", Decimal("12.50"), {"Invoice": "00017"})


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "bb", "file_url": "file:///b.pdf", "documents": [{"file_url": "file:///b.pdf", "sha256": "bb"}]},
        {"amount": Decimal("12.51")},
        {"due_on": date(2025, 2, 28)},
        {"portal_status": "Paid"},
    ],
    ids=["document", "amount", "due", "status"],
)
def test_bill_that_differs_has_changed(work: Import, change: dict[str, object]) -> None:
    work.record(WATER)
    second = work.start()
    assert work.record(replace(WATER, **change)).bills_new == 0  # type: ignore[arg-type]
    bill = work.read_bill()
    assert bill.changed_run == second.id
    for column, value in change.items():
        assert getattr(bill, column) == value
    [version] = work.read_versions()
    assert (bill.versions_count, version.replaced_in_run) == (1, second.id)
    for column in VERSIONED:
        assert getattr(version, column) == getattr(WATER, column)


def test_bill_of_which_more_is_known_now_has_not_changed(work: Import) -> None:
    work.record(replace(WATER, due_on=None, currency=None))
    work.start()
    work.record(replace(WATER, from_document=["due_on"]))
    bill = work.read_bill()
    assert (bill.changed_run, bill.due_on, bill.from_document) == (None, WATER.due_on, ["due_on"])
    assert work.read_versions() == []


def test_bill_whose_second_document_differs_has_changed(work: Import) -> None:
    first, usage = WATER.documents[0], {"file_url": "file:///u.csv", "sha256": "uu"}
    work.record(replace(WATER, documents=[first, usage]))
    second = work.start()
    work.record(replace(WATER, documents=[first, usage | {"sha256": "u2"}]))
    assert work.read_bill().changed_run == second.id
    assert [version.documents for version in work.read_versions()] == [[first, usage]]


def test_bill_keeps_its_newest_versions_and_gives_up_the_files_of_the_oldest(engine: Engine, work: Import) -> None:
    def at(number: int) -> BillRecord:
        document = {"file_url": f"aa/{number}.pdf", "sha256": str(number)}
        return replace(WATER, documents=[document], file_url=document["file_url"], sha256=str(number))

    for number in range(MAX_VERSIONS + 2):
        work.record(at(number))
        work.start()
    versions = work.read_versions()
    assert [v.documents[0]["sha256"] for v in versions] == [str(n) for n in range(MAX_VERSIONS, 0, -1)]
    assert work.read_bill().versions_count == MAX_VERSIONS
    with transaction(engine) as session:
        assert session.scalars(select(OrphanedFile.file_url)).all() == ["aa/0.pdf"]


def test_documents_of_the_bills_seen_last_are_known(work: Import) -> None:
    work.record(WATER)
    work.start()
    work.record(replace(WATER, bill_key="2", documents=[{"file_url": "2"}]))
    work.record(replace(WATER, bill_key="3", documents=[{"file_url": "3"}]), account=1)
    assert work.list_known() == [{"file_url": "2"}]


def test_bill_without_its_document_this_time_keeps_the_one_it_had(work: Import) -> None:
    work.record(WATER)
    work.start()
    work.record(replace(WATER, documents=[], file_url=None, sha256=None))
    bill = work.read_bill()
    assert (bill.changed_run, bill.file_url, bill.sha256) == (None, "file:///a.pdf", "aa")


def test_same_number_at_two_accounts_is_two_bills(engine: Engine, work: Import) -> None:
    assert work.record(WATER, account=0).bills_new == 1
    assert work.record(WATER, account=1).bills_new == 1
    with transaction(engine) as session:
        assert session.scalar(select(func.count()).select_from(Bill)) == 2


def test_same_number_twice_in_one_outcome_is_one_bill(work: Import) -> None:
    assert work.record(WATER, replace(WATER, amount=Decimal("1.00"))).bills_new == 1
    assert work.read_bill().amount == Decimal("1.00")


def test_bill_that_comes_twice_in_one_outcome_keeps_the_document_of_either(work: Import) -> None:
    work.record(WATER, replace(WATER, amount=Decimal("1.00"), documents=[], file_url=None, sha256=None))
    bill = work.read_bill()
    assert (bill.amount, bill.documents, bill.file_url, bill.sha256) == (
        Decimal("1.00"),
        WATER.documents,
        "file:///a.pdf",
        "aa",
    )


@pytest.mark.parametrize(
    ("amount", "stored"),
    [
        (Decimal("1.005"), Decimal("1.00")),
        (Decimal("-12.5"), Decimal("-12.50")),
        (Decimal("99999999999.99"), Decimal("99999999999.99")),
        (Decimal("4929123412341234"), None),
        (Decimal("1E+400"), None),
        (Decimal("NaN"), None),
        (None, None),
    ],
)
def test_amount_is_stored_in_cents_or_not_at_all(work: Import, amount: Decimal | None, stored: Decimal | None) -> None:
    for _ in range(2):
        work.record(replace(WATER, amount=amount))
        work.start()
    assert (work.read_bill().amount, work.read_bill().changed_run) == (stored, None)


def test_bill_takes_what_portals_send(work: Import) -> None:
    key = "k\0" + "é" * 5000
    for _ in range(2):
        work.record(replace(WATER, bill_key=key, portal_status="p\0", fields={"a\0": ["\ud800", 1, None]}))
        work.start()
    bill = work.read_bill("k\ufffd" + "é" * 298)
    assert (bill.portal_status, bill.fields, bill.changed_run) == ("p\ufffd", {"a\ufffd": ["\ufffd", 1, None]}, None)


def test_run_lists_what_it_saw_newest_first(engine: Engine, work: Import) -> None:
    undated = replace(WATER, bill_key="0", issued_on=None)
    newer = replace(WATER, bill_key="9", issued_on=date(2025, 6, 1))
    work.record(WATER, undated, newer)
    other = Import(engine)
    other.record(WATER)
    with transaction(engine) as session:
        assert [b.bill_key for b in list_run_bills(session, work.viewer, work.run.id)] == ["9", "00017", "0"]
        assert len(list_run_bills(session, work.viewer, work.run.id, limit=2)) == 2


def test_account_ends_when_it_ended_not_when_that_was_stored(engine: Engine) -> None:
    with transaction(engine) as session:
        job = make_job(session, make_viewer(session), accounts=2)
        run = make_run(session, job, status=RunStatus.RUNNING)
        assert run.lease_token is not None
        ends = (NOW - timedelta(seconds=2), None)
        for account, ended_at in zip(session.scalars(select(Account)), ends, strict=True):
            record = ResultRecord(account.id, account.username, 2, ResultStatus.SUCCESS, None, ended_at=ended_at)
            record_results(session, run.id, run.lease_token, [record], NOW)
        stored = session.scalars(select(Result.finished_at).order_by(Result.finished_at)).all()
    assert stored == [NOW - timedelta(seconds=2), NOW]
