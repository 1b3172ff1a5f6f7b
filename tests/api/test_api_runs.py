"""History over the API: runs, results, log, bills and the stored documents."""

import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from db.claiming import claim_runs
from db.claims import finish_run, requeue_run
from db.engine import transaction
from db.instances import register_instance
from db.models import Bill, Cause, Job, LogLevel, Result, ResultStatus, Role, RunStatus, RunTrigger
from db.run_log import LogLine, record_log_lines
from tests.api.portal_story import (
    OLD_PDF,
    PDF,
    Person,
    Story,
    make_bill,
    make_document,
    make_result,
    store,
    tell_story,
)
from tests.factories import NOW, make_job, make_run


@pytest.fixture
def story(engine: Engine, olive: Person, tmp_path: Path) -> Story:
    return tell_story(engine, olive.viewer, tmp_path)


def read_pages(person: Person, path: str, limit: int) -> tuple[list[dict[str, Any]], int]:
    """All items of a list, and how many pages they came in."""
    items: list[dict[str, Any]] = []
    params: dict[str, Any] = {"limit": limit}
    pages = 0
    while True:
        answer = person.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        items += answer.json()["items"]
        pages += 1
        if answer.json()["next_cursor"] is None:
            return items, pages
        params["cursor"] = answer.json()["next_cursor"]


def test_run_shows_its_progress_and_outcomes(olive: Person, story: Story) -> None:
    run = olive.client.get(f"/runs/{story.run_id}").json()
    assert run["job_id"] == story.job_id
    assert run["job_name"] == "Water bills"
    assert (run["status"], run["attempt"], run["accounts_total"]) == ("partial", 1, 2)
    assert run["results"] == {"success": 1, "wrong_credentials": 1}
    assert run["started_at"] == "2025-03-10T12:00:00Z"
    assert "lease_token" not in run


def test_run_shows_how_late_it_began_and_who_worked_on_it(engine: Engine, olive: Person) -> None:
    second = timedelta(seconds=1)
    with transaction(engine) as session:
        run_id = make_run(session, make_job(session, olive.viewer), lateness_seconds=0.012).id
        worker = register_instance(session, host="north", pid=1, version="1", slots=1, now=NOW)
    for start, outcome in ((0, None), (9, RunStatus.COMPLETED)):
        with transaction(engine) as session:
            (claim,) = claim_runs(session, NOW + start * second, worker=worker, slots=1, lease=30 * second).claims
        with transaction(engine) as session:
            if outcome:
                finish_run(session, run_id, claim.lease_token, outcome, None, NOW + 12 * second)
            else:
                requeue_run(session, run_id, claim.lease_token, "shut down", NOW + 3 * second, is_fault=False)
    run = olive.client.get(f"/runs/{run_id}").json()
    assert run["lateness_seconds"] == 0.012
    common = {"attempt": 1, "worker": worker, "host": "north"}
    assert run["attempts"] == [
        {**common, "started_at": "2025-03-10T12:00:00Z", "ended_at": "2025-03-10T12:00:03Z", "outcome": "queued"},
        {**common, "started_at": "2025-03-10T12:00:09Z", "ended_at": "2025-03-10T12:00:12Z", "outcome": "completed"},
    ]
    (listed,) = olive.client.get(f"/jobs/{run['job_id']}/runs").json()["items"]
    assert listed["lateness_seconds"] == 0.012


def test_occurrence_that_did_not_run_says_why_and_where_it_went(engine: Engine, olive: Person) -> None:
    hour = timedelta(hours=1)
    missed: dict[str, Any] = {"cause": Cause.OUTAGE, "occurrences": 3, "scheduled_until": NOW + 2 * hour}
    skipped: dict[str, Any] = {"cause": Cause.HOLIDAY, "moved_to": NOW + 24 * hour}
    with transaction(engine) as session:
        job = make_job(session, olive.viewer)
        make_run(session, job, trigger=RunTrigger.SCHEDULE, status=RunStatus.MISSED, **missed)
        make_run(session, job, trigger=RunTrigger.SCHEDULE, status=RunStatus.SKIPPED, at=NOW + 3 * hour, **skipped)
        make_run(session, job, trigger=RunTrigger.SCHEDULE, at=NOW + 4 * hour, start_by=NOW + 5 * hour)
    columns = ("cause", "occurrences", "scheduled_until", "moved_to", "start_by")
    runs = olive.client.get(f"/jobs/{job.id}/runs").json()["items"]
    assert [tuple(run[column] for column in columns) for run in runs] == [
        (None, 1, None, None, "2025-03-10T17:00:00Z"),
        ("holiday", 1, None, "2025-03-11T12:00:00Z", None),
        ("outage", 3, "2025-03-10T14:00:00Z", None, None),
    ]


def test_runs_page_newest_first(engine: Engine, olive: Person) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive.viewer)
        ids = [
            make_run(session, job, trigger=RunTrigger.SCHEDULE, status=RunStatus.MISSED, at=NOW + timedelta(days=n)).id
            for n in range(5)
        ]
    items, pages = read_pages(olive, f"/jobs/{job.id}/runs", 2)
    assert [run["id"] for run in items] == ids[::-1]
    assert pages == 3


def test_results_page_in_the_order_of_the_csv(engine: Engine, olive: Person) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive.viewer)
        run = make_run(session, job, status=RunStatus.COMPLETED)
        for row_number in (5, 2, 4, 3, 6):
            make_result(session, run.id, job.id, row_number)
    items, pages = read_pages(olive, f"/runs/{run.id}/results", 2)
    assert [result["row_number"] for result in items] == [2, 3, 4, 5, 6]
    assert pages == 3


def test_log_pages_oldest_first(engine: Engine, olive: Person) -> None:
    with transaction(engine) as session:
        run = make_run(session, make_job(session, olive.viewer), status=RunStatus.COMPLETED)
        record_log_lines(session, run.id, [LogLine(NOW, LogLevel.INFO, f"line {n}") for n in range(5)])
    items, pages = read_pages(olive, f"/runs/{run.id}/log", 2)
    assert [line["message"] for line in items] == [f"line {n}" for n in range(5)]
    assert pages == 3
    assert set(items[0]) == {"id", "at", "level", "account_id", "message"}


def test_bills_page_by_user_name_newest_first(engine: Engine, olive: Person) -> None:
    dates = [date(2025, 1, 1), None, date(2025, 3, 1), date(2025, 3, 1), None]
    with transaction(engine) as session:
        job = make_job(session, olive.viewer)
        run = make_run(session, job, status=RunStatus.COMPLETED)
        for username in ("b", "a"):
            for issued_on in dates:
                make_bill(session, run.id, job.id, username=username, issued_on=issued_on)
    whole, _ = read_pages(olive, f"/runs/{run.id}/bills", 1000)
    in_pages, pages = read_pages(olive, f"/runs/{run.id}/bills", 1)
    assert in_pages == whole
    assert pages == 10
    newest_first = ["2025-03-01", "2025-03-01", "2025-01-01", None, None]
    assert [(bill["username"], bill["issued_on"]) for bill in whole] == [(u, d) for u in "ab" for d in newest_first]


def test_bill_shows_its_values_and_documents(olive: Person, story: Story) -> None:
    bill, bare = olive.client.get(f"/runs/{story.run_id}/bills").json()["items"]
    assert (bill["number"], bill["amount"], bill["currency"], bill["issued_on"]) == (
        "0042",
        "12.50",
        "EUR",
        "2025-03-01",
    )
    assert (bill["fields"], bill["from_document"], bill["versions_count"]) == ({"No": "0042"}, ["amount"], 1)
    assert [d["file_name"] for d in bill["documents"]] == ['Rechnung "März"/1.pdf', "bill.csv"]
    assert [olive.client.get(d["file_url"]).content for d in bill["documents"]] == [PDF, b"number,amount\n42,12.50\n"]
    assert olive.client.get(bill["file_url"]).content == PDF
    assert (bare["documents"], bare["file_url"]) == ([], None)


def test_result_links_to_its_file(olive: Person, story: Story) -> None:
    result, empty = olive.client.get(f"/runs/{story.run_id}/results").json()["items"]
    assert (result["id"], empty["id"]) == (story.result_id, story.empty_result_id)
    assert empty["file_url"] is None
    answer = olive.client.get(result["file_url"])
    assert answer.content == PDF
    assert answer.headers["content-length"] == str(len(PDF))
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"Rechnung M_rz1.pdf\"; filename*=UTF-8''Rechnung%20M%C3%A4rz1.pdf"
    )


def test_file_keeps_serving_what_the_run_brought(engine: Engine, olive: Person, story: Story) -> None:
    with transaction(engine) as session:
        bill = session.get_one(Bill, story.bill_id)
        bill.documents = [make_document("ef/new.pdf", "new.pdf", "application/pdf")]
    answer = olive.client.get(f"/results/{story.result_id}/file")
    assert answer.content == PDF
    assert answer.headers["content-type"] == "application/pdf"
    assert 'filename="abcd.pdf"' in answer.headers["content-disposition"]


def test_missing_files_are_404_in_words(engine: Engine, olive: Person, story: Story, tmp_path: Path) -> None:
    def error(path: str) -> str:
        answer = olive.client.get(path)
        assert answer.status_code == 404
        return answer.json()["error"]

    assert error(f"/results/{story.empty_result_id}/file") == "this account has no file in this run"
    assert error(f"/bills/{story.bare_bill_id}/file") == "this bill has no document; the portal only listed it"
    assert error(f"/bills/{story.bill_id}/file?document=2") == "there is no such document"
    (tmp_path / "bills" / "ab" / "abcd.pdf").unlink()
    assert error(f"/results/{story.result_id}/file") == "the document is no longer in the storage"
    with transaction(engine) as session:
        session.get_one(Result, story.result_id).file_url = "../../etc/passwd"
    assert "storage" in error(f"/results/{story.result_id}/file")


def test_download_holds_no_database_connection(engine: Engine, olive: Person, story: Story) -> None:
    with olive.client.stream("GET", f"/results/{story.result_id}/file") as answer:
        chunks = answer.iter_bytes(1024)
        next(chunks)
        assert engine.pool.checkedout() == 0  # pyright: ignore[reportAttributeAccessIssue]
        assert sum(map(len, chunks)) == len(PDF) - 1024


def test_no_open_file_is_left_behind(olive: Person, story: Story) -> None:
    def open_bills() -> int:
        links = [Path(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]  # noqa: PTH208
        return sum(1 for link in links if link.exists() and link.resolve().name == "abcd.pdf")

    for _ in range(5):
        olive.client.get(f"/results/{story.result_id}/file")
    assert open_bills() == 0


def test_status_words_come_from_one_vocabulary(olive: Person, story: Story) -> None:
    results = olive.client.get(f"/runs/{story.run_id}/results").json()["items"]
    assert [ResultStatus(r["status"]) for r in results] == [ResultStatus.SUCCESS, ResultStatus.WRONG_CREDENTIALS]


def test_bill_that_changed_shows_what_it_was(olive: Person, story: Story) -> None:
    bill, bare = olive.client.get(f"/runs/{story.run_id}/bills").json()["items"]
    [version] = olive.client.get(bill["versions_url"]).json()["items"]
    assert (version["number"], version["amount"], version["replaced_in_run"]) == ("0042", "12.00", story.run_id)
    assert version["replaced_at"] == "2025-03-10T12:00:00Z"
    assert [document["file_name"] for document in version["documents"]] == ["old.pdf"]
    assert olive.client.get(version["documents"][0]["file_url"]).content == OLD_PDF
    assert olive.client.get(bare["versions_url"]).json() == {"items": [], "next_cursor": None}


def test_version_is_one_of_its_own_bill(olive: Person, story: Story) -> None:
    answer = olive.client.get(f"/bills/{story.bare_bill_id}/versions/{story.version_id}/file")
    assert (answer.status_code, answer.json()["error"]) == (404, "this bill has no such earlier version")
    answer = olive.client.get(f"/bills/{story.bill_id}/versions/{story.version_id}/file?document=1")
    assert (answer.status_code, answer.json()["error"]) == (404, "there is no such document")


def test_bill_file_of_another_type(engine: Engine, olive: Person, story: Story, tmp_path: Path) -> None:
    store(tmp_path, "xx/page.html", b"<script>alert(1)</script>")
    with transaction(engine) as session:
        job = session.get_one(Job, story.job_id)
        document = make_document("xx/page.html", "page.html", "text/html")
        bill = make_bill(session, story.run_id, job.id, documents=[document], file_url="xx/page.html")
    answer = olive.client.get(f"/bills/{bill.id}/file")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_admin_reads_everyones_history(story: Story, sign_in: Callable[..., Person]) -> None:
    admin = sign_in("ada", Role.ADMIN)
    for path in (f"/runs/{story.run_id}", f"/runs/{story.run_id}/bills", f"/results/{story.result_id}/file"):
        assert admin.client.get(path).status_code == 200


def test_queued_run_tells_its_place_and_what_it_waits_for(engine: Engine, olive: Person) -> None:
    now = datetime.now(UTC)
    with transaction(engine) as session:
        runs = [make_run(session, make_job(session, olive.viewer), at=now - timedelta(minutes=m)) for m in (3, 2, 1)]
        following = make_run(session, session.get_one(Job, runs[0].session_id), trigger=RunTrigger.SCHEDULE, at=now)
    assert olive.client.get(f"/runs/{runs[0].id}").json()["waits_for"] == "no scheduler with slots is running"
    with transaction(engine) as session:
        register_instance(session, host="h", pid=1, version="1", slots=1, now=now)
        claim_runs(session, now, worker="w", slots=1, lease=timedelta(seconds=30))
    shown = [olive.client.get(f"/runs/{run.id}").json() for run in (*runs, following)]
    assert [(run["queue_position"], run["waits_for"]) for run in shown] == [
        (None, None),
        (1, "next in line; waits for a free slot (1 of 1 in use)"),
        (2, "2nd in line; waits for a free slot (1 of 1 in use)"),
        (None, "waits for the job's running run"),
    ]
    listed = olive.client.get(f"/jobs/{runs[0].session_id}/runs").json()["items"]
    assert [run["waits_for"] for run in listed] == ["waits for the job's running run", None]


def test_run_that_is_asked_for_is_answered_with_its_place(engine: Engine, olive: Person) -> None:
    with transaction(engine) as session:
        register_instance(session, host="h", pid=1, version="1", slots=1, now=datetime.now(UTC))
        job = make_job(session, olive.viewer)
    answer = olive.client.post(f"/jobs/{job.id}/run").json()
    assert (answer["queue_position"], answer["waits_for"]) == (1, "next in line; starts in a moment")
    stopped = olive.client.post(f"/jobs/{job.id}/stop").json()
    assert (stopped["queue_position"], stopped["waits_for"]) == (None, None)


def test_delayed_run_says_when_it_is_tried_again(engine: Engine, olive: Person) -> None:
    now = datetime.now(UTC)
    later = now + timedelta(hours=1)
    with transaction(engine) as session:
        register_instance(session, host="h", pid=1, version="1", slots=1, now=now)
        run = make_run(session, make_job(session, olive.viewer), at=now, run_after=later, attempt=2)
    shown = olive.client.get(f"/runs/{run.id}").json()
    assert shown["waits_for"] == f"will be tried again at {later:%d %b %H:%M:%S} UTC"
    assert shown["queue_position"] is None
