"""Two runs of the demo portal's accounts, from the order to the bills in the database."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, select

from db.bill_versions import list_versions
from db.claiming import claim_runs
from db.documents import open_document
from db.engine import transaction
from db.models import Bill, Run, RunLogLine, RunStatus, RunTrigger
from db.runs import request_run
from demo.accounts import ACCOUNTS, Offer
from portal_import.child import RunOrder
from portal_import.run import execute_run
from tests.demo_portal import DemoPortal, make_demo_job, read_demo_accounts, serve_demo_portal
from tests.factories import make_viewer
from tests.scheduler_process import SECRET_KEY

BY_OFFER = {account.offer: account.username for account in ACCOUNTS if account.offer is not Offer.LINKS}


@pytest.fixture
def portal() -> Iterator[DemoPortal]:
    with serve_demo_portal() as portal:
        yield portal


@pytest.fixture
def run_once(engine: Engine, portal: DemoPortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Executes a run of one account of each unusual offer, and returns its id."""
    monkeypatch.setenv("PUNCTUAL_HOME", str(tmp_path))
    monkeypatch.setenv("PUNCTUAL_SECRET_KEY", SECRET_KEY)
    with transaction(engine) as session:
        viewer = make_viewer(session)
        accounts = [account for account in read_demo_accounts() if account.username in BY_OFFER.values()]
        job_id = make_demo_job(session, viewer, portal, accounts)

    def run() -> int:
        now = datetime.now(UTC)
        with transaction(engine) as session:
            request_run(session, viewer, job_id, trigger=RunTrigger.MANUAL, now=now)
            [claim] = claim_runs(session, now, worker="w", slots=1, lease=timedelta(minutes=2)).claims
        url = engine.url.render_as_string(hide_password=False)
        execute_run(RunOrder(claim.run_id, claim.lease_token, url), now)
        return claim.run_id

    return run


def read_bills(engine: Engine, offer: Offer) -> list[Bill]:
    with transaction(engine) as session:
        of_account = select(Bill).where(Bill.username == BY_OFFER[offer])
        return list(session.scalars(of_account.order_by(Bill.issued_on.desc())))


def test_each_way_to_offer_bills_ends_in_the_same_rows(engine: Engine, portal: DemoPortal, run_once: Callable[[], int]):
    run_id = run_once()
    with transaction(engine) as session:
        assert session.get_one(Run, run_id).status == RunStatus.COMPLETED
    for offer in BY_OFFER:
        bills = read_bills(engine, offer)
        assert all(bill.number and bill.issued_on and bill.due_on and bill.amount and bill.currency for bill in bills)
        expected = httpx.get(f"{portal.url}/_demo/bills", params={"username": BY_OFFER[offer]}).json()
        stored = {(bill.number, document["sha256"]) for bill in bills for document in bill.documents}
        assert stored == {(document["number"], document["sha256"]) for document in expected}
    for bill in read_bills(engine, Offer.BARE):
        assert set(bill.from_document) == {"number", "issued_on", "due_on", "amount", "currency"}
    for bill in read_bills(engine, Offer.ARCHIVE):
        assert [document["content_type"] for document in bill.documents] == ["application/pdf", "application/zip"]
        assert bill.from_document == []


def test_second_run_fetches_only_what_it_cannot_know_and_keeps_what_changed(
    engine: Engine, portal: DemoPortal, tmp_path: Path, run_once: Callable[[], int]
):
    run_once()
    [before, *others] = read_bills(engine, Offer.CORRECTED)
    asked_before = len(httpx.get(f"{portal.url}/_demo/requests").json())
    second = run_once()
    asked = httpx.get(f"{portal.url}/_demo/requests").json()[asked_before:]
    statuses = {
        (request["method"], request["path"]): request["status"]
        for request in asked
        if request["path"].startswith("/bills/")
    }
    changed = f"/bills/{before.number}.pdf"
    assert {path for (method, path), status in statuses.items() if (method, status) == ("GET", 200)} == {changed}
    assert {method for (method, _), status in statuses.items() if status != 304} == {"GET", "POST"}

    [after, *same] = read_bills(engine, Offer.CORRECTED)
    assert (after.id, after.changed_run, after.versions_count) == (before.id, second, 1)
    assert [(bill.id, bill.changed_run, bill.last_seen_run) for bill in same] == [
        (bill.id, None, second) for bill in others
    ]
    with transaction(engine) as session:
        [version] = list_versions(session, session.get_one(Bill, after.id))
        assert (version.amount, version.documents) == (before.amount, before.documents)
        said = session.scalars(select(RunLogLine.message).where(RunLogLine.run_id == second)).all()
    old, new = (
        b"".join(open_document((tmp_path / "bills").as_uri(), str(bill.documents[0]["file_url"])))
        for bill in (version, after)
    )
    assert old != new
    assert any("has not changed, and was not fetched again" in line for line in said)
    for offer in (Offer.BUTTON, Offer.ARCHIVE, Offer.BARE):
        assert {(bill.changed_run, bill.versions_count) for bill in read_bills(engine, offer)} == {(None, 0)}
