"""`/jobs/{id}/runs` and `/runs/{id}`: the history of a job, and a run's results, log and bills."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session

from api.authentication import CurrentViewer, Writer
from api.bills import bill_shape, root_of
from api.cursors import Position, make_cursor, read_cursor
from api.paging import LongPageQuery, NumberId, PageQuery, TextId
from api.resources import Here
from api.shapes import (
    AttemptShape,
    BillShape,
    LogLineShape,
    PageShape,
    ResultShape,
    RunDetailShape,
    RunShape,
)
from db.attempts import list_attempts
from db.bills import list_run_bills
from db.models import Result, Run, RunLogLine
from db.queue import Waiting, describe_waiting, waiting_words
from db.result_advice import advise
from db.results import count_results, list_results
from db.retry_requests import look_out_for_retry, request_retry
from db.run_log import list_log_lines
from db.runs import get_run, list_runs

router = APIRouter(tags=["runs"])


@router.get("/jobs/{job_id}/runs")
def get_job_runs(
    job_id: TextId, query: Annotated[PageQuery, Query()], viewer: CurrentViewer, here: Here
) -> PageShape[RunShape]:
    """A page of the job's runs, newest first; occurrences that were missed or skipped are among them."""
    key, list_name = here.box.signing_key, f"runs of {job_id}"
    (before,) = read_cursor(key, list_name, query.cursor) if query.cursor is not None else (None,)
    assert before is None or isinstance(before, int)
    with here.snapshot() as session:
        runs, following = list_runs(session, viewer, job_id, before_id=before, limit=query.limit)
        items = run_shapes(session, runs)
    return PageShape(items=items, next_cursor=make_cursor(key, list_name, [following]) if following else None)


@router.get("/runs/{run_id}")
def get_one_run(run_id: NumberId, viewer: CurrentViewer, here: Here) -> RunDetailShape:
    """One run."""
    with here.snapshot() as session:
        run, job = get_run(session, viewer, run_id)
        counts = {status.value: count for status, count in count_results(session, run.id).items()}
        attempts = [AttemptShape(**vars(attempt)) for attempt in list_attempts(session, viewer, run.id)]
        outlook = look_out_for_retry(session, run)
        return RunDetailShape(
            **run_shapes(session, [run])[0].model_dump(),
            job_name=job.name,
            results=counts,
            attempts=attempts,
            retry_run_ids=[retry.id for retry in outlook.retries],
            accounts_retryable=outlook.retryable,
            accounts_untried=outlook.untried,
        )


@router.post("/runs/{run_id}/retry-failed", status_code=202)
def retry_failed_accounts(run_id: NumberId, viewer: Writer, here: Here) -> RunShape:
    """Queue a run of the accounts that failed for a passing reason, or that a run which was cut short did not come to;
    409 when there are none, or a run is under way."""
    with here.transaction() as session:
        return run_shapes(session, [request_retry(session, viewer, run_id, now=datetime.now(UTC))])[0]


@router.get("/runs/{run_id}/results")
def get_run_results(
    run_id: NumberId, query: Annotated[LongPageQuery, Query()], viewer: CurrentViewer, here: Here, request: Request
) -> PageShape[ResultShape]:
    """A page of the run's results, in the order of the CSV."""
    key, list_name = here.box.signing_key, f"results of {run_id}"
    after = None
    if query.cursor is not None:
        row_number, result_id = read_cursor(key, list_name, query.cursor)
        assert isinstance(row_number, int)
        assert isinstance(result_id, str)
        after = (row_number, result_id)
    with here.transaction() as session:
        results, following = list_results(session, viewer, run_id, after=after, limit=query.limit)
        items = [_result_shape(result, root_of(request)) for result in results]
    return PageShape(items=items, next_cursor=make_cursor(key, list_name, [*following]) if following else None)


@router.get("/runs/{run_id}/log")
def get_run_log(
    run_id: NumberId, query: Annotated[LongPageQuery, Query()], viewer: CurrentViewer, here: Here
) -> PageShape[LogLineShape]:
    """A page of the run's log, oldest line first."""
    key, list_name = here.box.signing_key, f"log of {run_id}"
    (after,) = read_cursor(key, list_name, query.cursor) if query.cursor is not None else (0,)
    assert isinstance(after, int)
    with here.transaction() as session:
        run, _ = get_run(session, viewer, run_id)
        lines = list_log_lines(session, run.id, after_id=after, limit=query.limit + 1)
        items = [_line_shape(line) for line in lines[: query.limit]]
    following = make_cursor(key, list_name, [items[-1].id]) if len(lines) > query.limit else None
    return PageShape(items=items, next_cursor=following)


@router.get("/runs/{run_id}/bills")
def get_run_bills(
    run_id: NumberId, query: Annotated[LongPageQuery, Query()], viewer: CurrentViewer, here: Here, request: Request
) -> PageShape[BillShape]:
    """A page of the bills that the run saw and that no later run replaced, by user name."""
    key, list_name = here.box.signing_key, f"bills of {run_id}"
    after = _read_bill_cursor(read_cursor(key, list_name, query.cursor)) if query.cursor is not None else None
    with here.transaction() as session:
        bills = list_run_bills(session, viewer, run_id, after=after, limit=query.limit + 1)
        items = [bill_shape(bill, root_of(request)) for bill in bills[: query.limit]]
    if len(bills) <= query.limit:
        return PageShape(items=items, next_cursor=None)
    last = bills[query.limit - 1]
    position = [last.username, last.issued_on and last.issued_on.isoformat(), last.id]
    return PageShape(items=items, next_cursor=make_cursor(key, list_name, [*position]))


def run_shapes(session: Session, runs: Sequence[Run]) -> list[RunShape]:
    """The runs, without what only workers know; the queued ones with what they wait for."""
    waiting = describe_waiting(session, runs, datetime.now(UTC))
    return [_run_shape(run, waiting.get(run.id)) for run in runs]


def _run_shape(run: Run, waiting: Waiting | None) -> RunShape:
    return RunShape(
        id=run.id,
        job_id=run.session_id,
        parent_run_id=run.parent_run_id,
        trigger=run.trigger,
        status=run.status,
        cause=run.cause,
        reason=run.reason,
        attempt=run.attempt,
        scheduled_for=run.scheduled_for,
        occurrences=run.occurrences,
        scheduled_until=run.scheduled_until,
        moved_to=run.moved_to,
        start_by=run.start_by,
        queued_at=run.queued_at,
        run_after=run.run_after,
        started_at=run.started_at,
        finished_at=run.finished_at,
        lateness_seconds=run.lateness_seconds,
        stop_requested_at=run.stop_requested_at,
        queue_position=waiting.position if waiting is not None else None,
        waits_for=waiting_words(waiting, lambda at: f"{at:%d %b %H:%M:%S} UTC") if waiting is not None else None,
        accounts_total=run.accounts_total,
        accounts_done=run.accounts_done,
        accounts_succeeded=run.accounts_succeeded,
        requested_by=run.requested_by,
    )


def _result_shape(result: Result, root: str) -> ResultShape:
    return ResultShape(
        id=result.id,
        run_id=result.run_id,
        username=result.username,
        row_number=result.row_number,
        status=result.status,
        cause=result.cause,
        advice=advise(result.status, result.cause),
        error=result.error,
        final_error=result.final_error,
        retry_attempts=result.retry_attempts,
        bills_new=result.bills_new,
        bills_seen=result.bills_seen,
        file_url=f"{root}/results/{result.id}/file" if result.file_url else None,
        started_at=result.started_at,
        finished_at=result.finished_at,
    )


def _line_shape(line: RunLogLine) -> LogLineShape:
    return LogLineShape(id=line.id, at=line.at, level=line.level, account_id=line.account_id, message=line.message)


def _read_bill_cursor(position: Position) -> tuple[str, date | None, int]:
    username, issued_on, bill_id = position
    assert isinstance(username, str)
    assert isinstance(bill_id, int)
    return username, date.fromisoformat(str(issued_on)) if issued_on else None, bill_id
