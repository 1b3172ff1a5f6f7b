"""What people download: documents of bills and of their earlier versions, and bills as CSV or Excel workbook."""

from collections.abc import Iterator, Sequence
from urllib.parse import quote

from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from db.documents import BillDocument, StorageAwayError, get_bill_document, get_version_document, open_document
from db.engine import transaction
from db.errors import NotFoundError
from db.models import Bill
from db.viewers import Viewer
from exports.bill_sheets import (
    CSV_TYPE,
    EXCEL_TYPE,
    make_csv,
    make_workbook,
    read_and_close,
    read_job_bills,
    read_run_bills,
)
from settings import get_settings

INLINE_TYPE = "application/pdf"


def get_bill_file(request: Request) -> Response:
    """One document, as a download, or in the browser with `?inline=1` when it is a PDF. 404 for anyone else's."""
    viewer: Viewer = request.state.viewer
    try:
        with transaction() as session:
            document = _find_document(session, viewer, **request.path_params)
        content = open_document(get_settings().effective_storage_url, document.file_url)
    except NotFoundError:
        raise HTTPException(404, "There is no such document.") from None
    except StorageAwayError as error:
        raise HTTPException(503, f"{error}.") from None
    headers = {
        "Content-Disposition": content_disposition(document, inline=request.query_params.get("inline") == "1"),
        "Cache-Control": "private, no-store",
        "X-Content-Type-Options": "nosniff",
        # Keeps the gzip layer away: PDFs do not shrink, and a known length lets browsers show progress.
        "Content-Encoding": "identity",
    }
    if content.size_bytes is not None:
        headers["Content-Length"] = str(content.size_bytes)
    return StreamingResponse(iter(content), media_type=document.content_type, headers=headers)


def _find_document(
    session: Session, viewer: Viewer, bill_id: int, index: int, version_id: int | None = None
) -> BillDocument:
    if version_id is None:
        return get_bill_document(session, viewer, bill_id, index)
    return get_version_document(session, viewer, bill_id, version_id, index)


def content_disposition(document: BillDocument, *, inline: bool) -> str:
    """RFC 6266, with the name in ASCII for old clients and in full for the others (RFC 8187)."""
    kind = "inline" if inline and document.content_type == INLINE_TYPE else "attachment"
    name = "".join(c for c in document.file_name if c.isprintable() and c not in '/\\"') or "document"
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def get_run_bills(request: Request) -> Response:
    """All bills of the run, in the format of the address. 404 for anyone else's."""
    run_id: int = request.path_params["run_id"]
    return _send_sheet(request, f"bills-run-{run_id}", read_run_bills(transaction, request.state.viewer, run_id))


def get_job_bills(request: Request) -> Response:
    """The same of a job."""
    return _send_sheet(
        request, "bills", read_job_bills(transaction, request.state.viewer, request.path_params["job_id"])
    )


def _send_sheet(request: Request, name: str, pages: Iterator[Sequence[Bill]]) -> Response:
    is_csv = request.url.path.endswith(".csv")
    try:
        content = make_csv(pages) if is_csv else read_and_close(make_workbook(pages))
    except NotFoundError:
        raise HTTPException(404, "There are no such bills.") from None
    headers = {
        "Content-Disposition": f'attachment; filename="{name}.{"csv" if is_csv else "xlsx"}"',
        "Cache-Control": "private, no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(content, media_type=CSV_TYPE if is_csv else EXCEL_TYPE, headers=headers)


FILE_ROUTES = [
    Route("/files/bills/{bill_id:int}/{index:int}", get_bill_file, methods=["GET"]),
    Route("/files/bills/{bill_id:int}/versions/{version_id:int}/{index:int}", get_bill_file, methods=["GET"]),
    *(Route(f"/files/runs/{{run_id:int}}/bills.{kind}", get_run_bills, methods=["GET"]) for kind in ("csv", "xlsx")),
    *(Route(f"/files/jobs/{{job_id}}/bills.{kind}", get_job_bills, methods=["GET"]) for kind in ("csv", "xlsx")),
]
