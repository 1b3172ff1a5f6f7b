"""`/runs/{id}/bills.csv`, `.xlsx`, and the same of a job: bills for spreadsheets, with formulas made inert."""

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from api.authentication import CurrentViewer
from api.paging import NumberId, TextId
from api.resources import Here
from exports.bill_sheets import (
    CSV_TYPE,
    EXCEL_TYPE,
    make_csv,
    make_workbook,
    read_and_close,
    read_job_bills,
    read_run_bills,
)

router = APIRouter(tags=["files"])


@router.get("/runs/{run_id}/bills.csv", response_class=StreamingResponse)
def get_run_bills_csv(run_id: NumberId, viewer: CurrentViewer, here: Here) -> StreamingResponse:
    """All bills that the run saw and that no later run replaced, as CSV."""
    content = make_csv(read_run_bills(here.transaction, viewer, run_id))
    return StreamingResponse(content, media_type=CSV_TYPE, headers=_headers(f"bills-run-{run_id}.csv"))


@router.get("/runs/{run_id}/bills.xlsx", response_class=StreamingResponse)
def get_run_bills_workbook(run_id: NumberId, viewer: CurrentViewer, here: Here) -> StreamingResponse:
    """The same as an Excel workbook."""
    content = read_and_close(make_workbook(read_run_bills(here.transaction, viewer, run_id)))
    return StreamingResponse(content, media_type=EXCEL_TYPE, headers=_headers(f"bills-run-{run_id}.xlsx"))


@router.get("/jobs/{job_id}/bills.csv", response_class=StreamingResponse)
def get_job_bills_csv(job_id: TextId, viewer: CurrentViewer, here: Here) -> StreamingResponse:
    """All bills of the job, whichever runs brought them, as CSV."""
    content = make_csv(read_job_bills(here.transaction, viewer, job_id))
    return StreamingResponse(content, media_type=CSV_TYPE, headers=_headers("bills.csv"))


@router.get("/jobs/{job_id}/bills.xlsx", response_class=StreamingResponse)
def get_job_bills_workbook(job_id: TextId, viewer: CurrentViewer, here: Here) -> StreamingResponse:
    """The same as an Excel workbook."""
    content = read_and_close(make_workbook(read_job_bills(here.transaction, viewer, job_id)))
    return StreamingResponse(content, media_type=EXCEL_TYPE, headers=_headers("bills.xlsx"))


def _headers(file_name: str) -> dict[str, str]:
    return {
        "Content-Disposition": f'attachment; filename="{file_name}"',
        "Cache-Control": "private, no-store",
        "X-Content-Type-Options": "nosniff",
    }
