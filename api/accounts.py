"""`/jobs/{id}/accounts`: list and replace the accounts that a job signs in to, never with their secrets."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, UploadFile

from api.authentication import CurrentViewer, Writer
from api.cursors import make_cursor, read_cursor
from api.multipart import require_multipart
from api.paging import LongPageQuery, TextId
from api.resources import Here
from api.shapes import (
    AccountChangesShape,
    AccountNamesShape,
    AccountShape,
    AccountsPreviewShape,
    PageShape,
    StrictShape,
)
from db.accounts import list_accounts, preview_accounts
from db.jobs import get_job, update_accounts
from db.models import Account
from portal_import.job_draft import InvalidJobError, draft_accounts

router = APIRouter(prefix="/jobs", tags=["jobs"])


class AccountsFile(StrictShape):
    """The multipart form: one file."""

    csv: UploadFile | None = None


class AccountsForm(AccountsFile):
    """The multipart form: the file and, to be sure that nobody came between, the job's `version`."""

    version: int | None = None


@router.get("/{job_id}/accounts")
def get_accounts(
    job_id: TextId, query: Annotated[LongPageQuery, Query()], viewer: CurrentViewer, here: Here
) -> PageShape[AccountShape]:
    """A page of the job's accounts, in the order of the CSV, without their passwords."""
    key, list_name = here.box.signing_key, f"accounts of {job_id}"
    row_number, account_id = read_cursor(key, list_name, query.cursor) if query.cursor is not None else (0, 0)
    assert isinstance(row_number, int)
    assert isinstance(account_id, int)
    with here.transaction() as session:
        job = get_job(session, viewer, job_id)
        accounts = list_accounts(session, job, after=(row_number, account_id), limit=query.limit + 1)
        items = [_account_shape(account) for account in accounts[: query.limit]]
    if len(accounts) <= query.limit:
        return PageShape(items=items, next_cursor=None)
    last = accounts[query.limit - 1]
    return PageShape(items=items, next_cursor=make_cursor(key, list_name, [last.row_number, last.id]))


@router.put("/{job_id}/accounts", dependencies=[Depends(require_multipart("csv"))])
def put_accounts(
    job_id: TextId,
    form: Annotated[AccountsForm, Form(media_type="multipart/form-data")],
    viewer: Writer,
    here: Here,
) -> AccountChangesShape:
    """Make the job's accounts those of the CSV; accounts are matched by user name and keep their history.

    409 while a run is in progress, and when `version` is not the job's any more.
    """
    content = _read(form)
    with here.transaction() as session:
        job = get_job(session, viewer, job_id)
        rows = draft_accounts(content, login_url=job.login_url, billing_url=job.billing_url)
        now = datetime.now(UTC)
        changes = update_accounts(session, viewer, job_id, rows, here.box, now=now, expected_version=form.version)
    return AccountChangesShape(**asdict(changes))


@router.post("/{job_id}/accounts/preview", dependencies=[Depends(require_multipart("csv"))])
def preview_new_accounts(
    job_id: TextId,
    form: Annotated[AccountsFile, Form(media_type="multipart/form-data")],
    viewer: Writer,
    here: Here,
) -> AccountsPreviewShape:
    """What `PUT /jobs/{id}/accounts` would do with this CSV; nothing is written.

    Send the `version` of the answer along with the PUT: it is refused if the job was changed meanwhile.
    """
    content = _read(form)
    with here.transaction() as session:
        job = get_job(session, viewer, job_id)
        rows = draft_accounts(content, login_url=job.login_url, billing_url=job.billing_url)
        preview = preview_accounts(session, job, rows, here.box)
    names = AccountNamesShape(
        added=list(preview.added),
        changed_password=list(preview.changed_password),
        changed_otherwise=list(preview.changed_otherwise),
        removed=list(preview.removed),
    )
    return AccountsPreviewShape(
        **asdict(preview.changes),
        ready_again=preview.ready_again,
        still_waiting=preview.still_waiting,
        usernames=names,
        version=preview.version,
    )


def _read(form: AccountsFile) -> bytes:
    if form.csv is None:
        raise InvalidJobError({"csv": "choose a CSV file with the portal accounts"})
    return form.csv.file.read()


def _account_shape(account: Account) -> AccountShape:
    return AccountShape(
        id=account.id,
        row_number=account.row_number,
        username=account.username,
        status=account.status,
        status_reason=account.status_reason,
        last_success_at=account.last_success_at,
    )
