"""`/jobs/{id}/test-sign-in`: ask for a run that signs in to one account and tells what it saw, but stores no bill."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from api.authentication import Writer
from api.paging import MAX_BIG_ID, TextId
from api.resources import Here
from api.runs import run_shapes
from api.shapes import RunShape, StrictShape
from db.sign_in_tests import request_test_sign_in

router = APIRouter(prefix="/jobs", tags=["jobs"])


class TestSignInForm(StrictShape):
    """The account to test, by its id."""

    account_id: Annotated[int, Field(ge=1, le=MAX_BIG_ID)]


@router.post("/{job_id}/test-sign-in", status_code=202)
def test_sign_in(job_id: TextId, form: TestSignInForm, viewer: Writer, here: Here) -> RunShape:
    """Queue a test of one account's sign-in; its steps are the run's log, its outcome the run's only result.

    An account that is left alone is tested all the same. 409 while another test of the job is under way, while the
    portal's breaker is open, and when the account was tested too often just now.
    """
    with here.transaction() as session:
        run = request_test_sign_in(session, viewer, job_id, form.account_id, now=datetime.now(UTC))
        return run_shapes(session, [run])[0]
