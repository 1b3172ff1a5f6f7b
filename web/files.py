"""Bill documents for the people who may see them: `/files/bills/{bill_id}/{index}`, and those of earlier versions."""

from urllib.parse import quote

from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from db.documents import BillDocument, StorageAwayError, get_bill_document, get_version_document, open_document
from db.engine import transaction
from db.errors import NotFoundError
from db.viewers import Viewer
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


FILE_ROUTES = [
    Route("/files/bills/{bill_id:int}/{index:int}", get_bill_file, methods=["GET"]),
    Route("/files/bills/{bill_id:int}/versions/{version_id:int}/{index:int}", get_bill_file, methods=["GET"]),
]
