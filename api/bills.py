"""`/bills/{id}/versions`: what a bill was before it changed; and the shapes of bills."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request

from api.authentication import CurrentViewer
from api.paging import NumberId
from api.resources import Here
from api.shapes import BillShape, BillVersionShape, DocumentShape, PageShape
from db.bill_versions import list_versions
from db.bills import get_bill
from db.models import Bill, BillVersion

router = APIRouter(tags=["bills"])


@router.get("/bills/{bill_id}/versions")
def get_bill_versions(
    bill_id: NumberId, request: Request, viewer: CurrentViewer, here: Here
) -> PageShape[BillVersionShape]:
    """The bill as it was before each of its last changes, newest first; all in one page."""
    with here.transaction() as session:
        versions = list_versions(session, get_bill(session, viewer, bill_id))
        items = [_version_shape(version, root_of(request)) for version in versions]
    return PageShape(items=items, next_cursor=None)


def bill_shape(bill: Bill, root: str) -> BillShape:
    """The bill with the addresses of its files under the API's root."""
    address = f"{root}/bills/{bill.id}/file"
    return BillShape(
        id=bill.id,
        job_id=bill.session_id,
        username=bill.username,
        number=bill.number,
        issued_on=bill.issued_on,
        due_on=bill.due_on,
        amount=bill.amount,
        currency=bill.currency,
        portal_status=bill.portal_status,
        fields=bill.fields,
        from_document=bill.from_document,
        sha256=bill.sha256,
        file_url=address if bill.documents else None,
        documents=_document_shapes(bill.documents, address),
        versions_count=bill.versions_count,
        versions_url=f"{root}/bills/{bill.id}/versions",
        first_seen_run=bill.first_seen_run,
        last_seen_run=bill.last_seen_run,
        changed_run=bill.changed_run,
    )


def root_of(request: Request) -> str:
    """Where the API is mounted."""
    return request.scope.get("root_path", "")


def _version_shape(version: BillVersion, root: str) -> BillVersionShape:
    return BillVersionShape(
        id=version.id,
        number=version.number,
        issued_on=version.issued_on,
        due_on=version.due_on,
        amount=version.amount,
        currency=version.currency,
        portal_status=version.portal_status,
        fields=version.fields,
        documents=_document_shapes(version.documents, f"{root}/bills/{version.bill_id}/versions/{version.id}/file"),
        replaced_in_run=version.replaced_in_run,
        replaced_at=version.replaced_at,
    )


def _document_shapes(documents: Sequence[dict[str, Any]], address: str) -> list[DocumentShape]:
    return [
        DocumentShape(
            file_url=f"{address}?document={index}",
            file_name=str(document.get("file_name") or "document"),
            content_type=document.get("content_type"),
            size_bytes=document.get("size_bytes"),
            sha256=document.get("sha256"),
        )
        for index, document in enumerate(documents)
    ]
