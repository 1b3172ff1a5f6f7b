"""`/jobs/{id}/accounts`: replace the accounts that a job signs in to. They are never listed with their secrets."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Form, UploadFile

from api.authentication import Writer
from api.multipart import require_multipart
from api.paging import TextId
from api.resources import Here
from api.shapes import AccountChangesShape, StrictShape
from db.jobs import get_job, update_accounts
from portal_import.job_draft import InvalidJobError, draft_accounts

router = APIRouter(prefix="/jobs", tags=["jobs"])


class AccountsForm(StrictShape):
    """The multipart form: one file."""

    csv: UploadFile | None = None


@router.put("/{job_id}/accounts", dependencies=[Depends(require_multipart("csv"))])
def put_accounts(
    job_id: TextId,
    form: Annotated[AccountsForm, Form(media_type="multipart/form-data")],
    viewer: Writer,
    here: Here,
) -> AccountChangesShape:
    """Make the job's accounts those of the CSV; accounts are matched by user name and keep their history.

    409 while a run is in progress.
    """
    if form.csv is None:
        raise InvalidJobError({"csv": "choose a CSV file with the portal accounts"})
    content = form.csv.file.read()
    with here.transaction() as session:
        job = get_job(session, viewer, job_id)
        rows = draft_accounts(content, login_url=job.login_url, billing_url=job.billing_url)
        changes = update_accounts(session, viewer, job_id, rows, here.box, now=datetime.now(UTC))
    return AccountChangesShape(
        added=changes.added, changed=changes.changed, removed=changes.removed, unchanged=changes.unchanged
    )
