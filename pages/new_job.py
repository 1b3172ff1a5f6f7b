"""New job: accounts, addresses and a schedule, checked while they are typed."""

from collections.abc import Iterable
from datetime import UTC, datetime

import streamlit as st

from db.encryption import open_secret_box
from db.engine import transaction
from db.errors import PortalNotAuthorisedError, PunctualError
from db.jobs import JobDraft, create_job
from db.models import Role
from db.retries import DEFAULT_RETRY_POLICY
from db.viewers import Viewer
from portal_import.job_draft import InvalidJobError, draft_job
from recurrence import InvalidScheduleError
from settings import get_settings
from ui.accounts_upload import render_accounts_upload
from ui.authorisation import CONFIRM, render_authorisation
from ui.current_user import require_role
from ui.plain_text import plain
from ui.retry_editor import render_retry_editor
from ui.schedule_editor import render_schedule_editor
from ui.shell import viewer_zone

FIELD_NAMES = {
    "name": "Name",
    "csv": "Accounts CSV",
    "login_url": "Login URL",
    "billing_url": "Billing URL",
    "schedule": "Schedule",
    "max_attempts": "Attempts",
    "retry_delay_seconds": "Wait before a retry",
}


def main() -> None:
    """Draw the page."""
    viewer = require_role(Role.ADMIN, Role.OPERATOR)
    st.title("New job", anchor=False)
    with st.container(border=True):
        st.subheader("Accounts and portal")
        name = st.text_input("Name", max_chars=120, placeholder="Energy bills, northern branches", key="new-name")
        data, accounts = render_accounts_upload("new")
        left, right = st.columns(2)
        placeholders = ", ".join(f"{{{c}}}" for c in ("username", *(accounts.extra_columns if accounts else ())))
        url_help = f"May hold {placeholders}, filled in for each account."
        login_url = left.text_input(
            "Login URL", placeholder="https://portal.example.com/login", help=url_help, key="new-login"
        )
        billing_url = right.text_input(
            "Billing URL", placeholder="https://portal.example.com/bills", help=url_help, key="new-billing"
        )
        authorised = render_authorisation(login_url, "new")
    with st.container(border=True):
        st.subheader("Schedule")
        choice = render_schedule_editor("new", viewer_zone(viewer))
    retries = render_retry_editor("new", DEFAULT_RETRY_POLICY)
    refusal = st.container()
    if not st.button("Create job", type="primary", icon=":material/check:"):
        return
    try:
        draft = draft_job(
            name=name,
            login_url=login_url,
            billing_url=billing_url,
            csv=data,
            schedule=choice.schedule,
            policy=choice.policy,
            retries=retries,
        )
        if choice.problem is not None:
            raise InvalidJobError({"schedule": choice.problem})
        job_id = store(viewer, draft, authorised)
    except InvalidJobError as error:
        lines = [f"- **{FIELD_NAMES.get(f, f)}**: {plain(error.fields[f])}" for f in in_form_order(error.fields)]
        if not authorised:
            lines.append(f"- **Authorisation**: {CONFIRM}")
        refusal.error("The job was not created. Please correct:\n\n" + "\n".join(lines), icon=":material/error:")
    except PortalNotAuthorisedError:
        refusal.error(f"The job was not created. {CONFIRM}", icon=":material/error:")
    except (PunctualError, InvalidScheduleError) as error:
        refusal.error(f"The job was not created: {plain(str(error))}", icon=":material/error:")
    else:
        st.switch_page("pages/job.py", query_params={"id": job_id})


def in_form_order(fields: Iterable[str]) -> list[str]:
    """The fields as they follow each other in the form."""
    order = list(FIELD_NAMES)
    return sorted(fields, key=lambda f: order.index(f) if f in order else len(order))


def store(viewer: Viewer, draft: JobDraft, authorised: bool) -> str:
    """Create the job; returns its id. Raises PunctualError."""
    with transaction() as session:
        box = open_secret_box(get_settings())
        return create_job(session, viewer, draft, box, authorised=authorised, now=datetime.now(UTC)).id


main()
