"""`/results/{id}/file`, `/bills/{id}/file` and those of its versions: stored documents, under their own names."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from api.authentication import CurrentViewer
from api.paging import NumberId, TextId
from api.resources import Here, Resources
from db.bills import get_bill
from db.documents import BillDocument, get_bill_document, get_result_document, get_version_document, open_document
from db.errors import NotFoundError
from db.models import Bill

router = APIRouter(tags=["files"])


@router.get("/results/{result_id}/file", response_class=StreamingResponse)
def get_result_file(result_id: TextId, viewer: CurrentViewer, here: Here) -> StreamingResponse:
    """The newest document of the result's account; 404 when the account brought none."""
    with here.transaction() as session:
        document = get_result_document(session, viewer, result_id)
    return _stream(here, document)


@router.get("/bills/{bill_id}/file", response_class=StreamingResponse)
def get_bill_file(
    bill_id: NumberId, viewer: CurrentViewer, here: Here, document: Annotated[int | None, Query(ge=0, le=9999)] = None
) -> StreamingResponse:
    """The bill's main document, or with `?document=1` its second one."""
    with here.transaction() as session:
        bill = get_bill(session, viewer, bill_id)
        if not bill.documents:
            raise NotFoundError("this bill has no document; the portal only listed it")
        found = get_bill_document(session, viewer, bill_id, _main_document(bill) if document is None else document)
    return _stream(here, found)


@router.get("/bills/{bill_id}/versions/{version_id}/file", response_class=StreamingResponse)
def get_version_file(
    bill_id: NumberId,
    version_id: NumberId,
    viewer: CurrentViewer,
    here: Here,
    document: Annotated[int, Query(ge=0, le=9999)] = 0,
) -> StreamingResponse:
    """A document that the bill had before it changed."""
    with here.transaction() as session:
        found = get_version_document(session, viewer, bill_id, version_id, document)
    return _stream(here, found)


def _main_document(bill: Bill) -> int:
    return next((i for i, d in enumerate(bill.documents) if d["file_url"] == bill.file_url), 0)


def _stream(here: Resources, document: BillDocument) -> StreamingResponse:
    content = open_document(here.settings.effective_storage_url, document.file_url)
    headers = {
        "Content-Disposition": _content_disposition(document.file_name),
        "X-Content-Type-Options": "nosniff",
        # Keeps compression away, which would lose the length.
        "Content-Encoding": "identity",
    }
    if content.size_bytes is not None:
        headers["Content-Length"] = str(content.size_bytes)
    return StreamingResponse(iter(content), media_type=document.content_type, headers=headers)


def _content_disposition(file_name: str) -> str:
    """RFC 6266: the name in ASCII for old clients and in full for the others (RFC 8187)."""
    name = "".join(c for c in file_name if c.isprintable() and c not in '/\\"') or "document"
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
