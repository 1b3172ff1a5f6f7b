"""*Test sign-in*: one account of one job signs in once, and a person watches what was found at each step."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from zoneinfo import ZoneInfo

import streamlit as st
from sqlalchemy.orm import Session

from db.accounts import get_account, list_accounts
from db.engine import transaction
from db.errors import NotFoundError, PunctualError
from db.jobs import get_job
from db.models import (
    LIVE_RUN_STATUSES,
    SUCCEEDED_RESULTS,
    AccountStatus,
    Job,
    LogLevel,
    Result,
    ResultStatus,
    Run,
    RunLogLine,
    RunTrigger,
)
from db.portals import PortalSummary, list_portal_jobs
from db.queue import Waiting, describe_waiting
from db.result_advice import advise
from db.results import list_results
from db.run_log import list_newest_log_lines
from db.runs import get_run
from db.sign_in_tests import request_test_sign_in
from db.viewers import Viewer
from ui.moments import both
from ui.outcomes import RESULT_LOOKS, RUN_LOOKS, render_badge
from ui.plain_text import code, plain
from ui.waiting import describe_wait

REFUSAL = "test-refusal"
JOBS_OFFERED = 500
ACCOUNTS_OFFERED = 1000
ADVICE: dict[str, str] = {
    ResultStatus.WRONG_CREDENTIALS: "Try the password at the portal yourself. If it is refused there too, correct it "
    "in the job's CSV; if it is taken, the wrong field was filled in here: name the fields under Settings.",
    ResultStatus.NEEDS_ATTENTION: "Sign in at the portal yourself, put right what it asks for, and test again.",
    ResultStatus.PORTAL_ERROR: "This usually passes: test again later.",
    ResultStatus.PORTAL_CHANGED: "Look at the steps: is it the page that you expect? If not, correct the job's "
    "addresses. If it is, say under Settings where its fields and links are, or under Bill table which columns it has.",
}
_MARKS = {LogLevel.INFO: "", LogLevel.WARNING: "! ", LogLevel.ERROR: "✕ "}


@dataclass(frozen=True)
class TestView:
    """A test and what came of it so far."""

    run: Run
    account_id: int | None
    username: str
    waiting: Waiting | None
    result: Result | None
    steps: Sequence[RunLogLine]

    @property
    def is_live(self) -> bool:
        return self.run.status in LIVE_RUN_STATUSES


def render_test(viewer: Viewer, summary: PortalSummary, zone: ZoneInfo) -> None:
    """Choose an account, test it, and watch."""
    st.caption(
        "Signs in once, with the settings as they are saved, goes as far as the billing page, and stores nothing but "
        "the first rows of its table. No password is shown."
    )
    view = load_test(viewer, summary.portal.id, st.query_params.get("test", ""))
    if viewer.may_write:
        render_choice(viewer, summary, view)
    elif view is None:
        st.info("Your role may look at tests but not ask for one.", icon=":material/visibility:")
    if view is not None:
        render = st.fragment(render_steps, run_every=1 if view.is_live else None)
        render(viewer, summary.portal.id, view.run.id, zone)


def render_choice(viewer: Viewer, summary: PortalSummary, shown: TestView | None) -> None:
    """Whose sign-in is to be tested, at first that of the test that is shown, and the button."""
    jobs = load_jobs(viewer, summary.portal.id)
    if not jobs:
        st.info("No job uses this portal, so there is no account to test.", icon=":material/group_off:")
        return
    key = f"portal-{summary.portal.id}-test"
    more = f"The first {ACCOUNTS_OFFERED:,} of the job; the API tests any."
    left, right = st.columns(2)
    names = {job.id: job.name for job in jobs}
    wanted = shown.run.session_id if shown is not None else st.query_params.get("job", "")
    job_id = left.selectbox(
        "Job",
        list(names),
        index=list(names).index(wanted) if wanted in names else 0,
        format_func=lambda j: names[j],
        key=f"{key}-job",
    )
    accounts = load_accounts(viewer, job_id)
    tested = shown.account_id if shown is not None else None
    account_id = right.selectbox(
        "Account",
        list(accounts),
        index=list(accounts).index(tested) if tested in accounts else 0,
        format_func=lambda a: accounts[a],
        key=f"{key}-account-{job_id}",
        placeholder="This job has no accounts",
        help=more if len(accounts) == ACCOUNTS_OFFERED else None,
    )
    st.button(
        "Test sign-in",
        icon=":material/login:",
        type="primary",
        key=f"{key}-start",
        disabled=(shown is not None and shown.is_live) or account_id is None,
        on_click=start,
        args=(viewer, job_id, account_id),
    )
    refusal = st.session_state.pop(REFUSAL, None)
    if refusal is not None:
        st.warning(f"Not tested: {plain(refusal)}.", icon=":material/block:")


def start(viewer: Viewer, job_id: str, account_id: int) -> None:
    """Ask for the test and have the page show it, or say why it was refused."""
    try:
        with transaction() as session:
            run = request_test_sign_in(session, viewer, job_id, account_id, now=datetime.now(UTC))
    except PunctualError as error:
        st.session_state[REFUSAL] = str(error)
    else:
        st.query_params["test"] = str(run.id)


def render_steps(viewer: Viewer, portal_id: int, run_id: int, zone: ZoneInfo) -> None:
    """The steps of the test; drawn again every second while it is live."""
    view = load_test(viewer, portal_id, str(run_id))
    if view is None:
        st.info("This test was deleted.", icon=":material/delete:")
        return
    was_live = st.session_state.get(f"test-live-{run_id}", False)
    st.session_state[f"test-live-{run_id}"] = view.is_live
    if was_live and not view.is_live:
        st.rerun()  # the whole page: the button works again, and the bill table has been seen
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            with st.container(horizontal=True, vertical_alignment="center", width="content"):
                st.subheader(f"Test of {code(view.username)}", anchor=False, width="content")
                render_badge(RUN_LOOKS, view.run.status)
            st.caption(both(view.run.queued_at, zone, datetime.now(UTC)), width="content")
        render_conclusion(view, zone)
        if view.steps:
            st.html(steps_list(view.steps, view.username, zone))
        with st.container(key="test-run"):
            st.page_link(
                "pages/run.py",
                label=f"Run {run_id} with its log",
                icon=":material/receipt_long:",
                query_params={"id": str(run_id)},
            )


def render_conclusion(view: TestView, zone: ZoneInfo) -> None:
    """How it ended, or what it waits for."""
    result, run = view.result, view.run
    if view.is_live:
        waits = f"{plain(describe_wait(view.waiting, zone, datetime.now(UTC)))}." if view.waiting else "Signing in…"
        st.caption(f":material/hourglass_top: {waits}")
    elif result is None:
        st.warning("The test ended before the portal answered.", icon=":material/warning:")
        st.text(_capitalised(run.reason or ""))
    elif result.status in SUCCEEDED_RESULTS:
        bills = "This account has no bills there." if result.status == ResultStatus.NO_BILLS else ""
        st.success(f"The sign-in works. {bills}".strip(), icon=":material/check_circle:")
    else:
        look = RESULT_LOOKS[result.status]
        advice = advise(result.status, result.cause) if result.cause else ADVICE.get(result.status, "")
        st.error(f"**{look.label}.** {advice}", icon=look.icon)
        st.text(_capitalised(result.error or ""))


def steps_list(steps: Sequence[RunLogLine], username: str, zone: ZoneInfo) -> str:
    """The log as HTML; what begins with blanks belongs to the step before it.

    Not as Markdown, in which addresses that a portal chose would become links.
    """
    lines: list[str] = []
    for step in steps:
        message = step.message.removeprefix(f"{username}: ")
        text = escape(f"{_MARKS[LogLevel(step.level)]}{_capitalised(message.strip())}")
        is_part = message.startswith(" ")
        at = "" if is_part else f"{step.at.astimezone(zone):%H:%M:%S}"
        kind = f"{step.level} part" if is_part else step.level
        lines.append(f'<div class="step {kind}"><span>{at}</span><span>{text}</span></div>')
    return f'<div class="steps">{"".join(lines)}</div>'


def load_test(viewer: Viewer, portal_id: int, run_id: str) -> TestView | None:
    """The test of the address, if it is one of the viewer's at this portal."""
    if not run_id.isascii() or not run_id.isdigit() or len(run_id) > 18:
        return None
    with transaction() as session:
        try:
            run, job = get_run(session, viewer, int(run_id))
        except NotFoundError:
            return None
        if run.trigger != RunTrigger.TEST or run.portal_id != portal_id:
            return None
        results, _ = list_results(session, viewer, run.id, limit=1)
        steps = list_newest_log_lines(session, run.id)
        waiting = describe_waiting(session, [run], datetime.now(UTC)).get(run.id)
        result = next(iter(results), None)
        username = result.username if result is not None else _load_username(session, job, run)
        account_id = run.account_ids[0] if run.account_ids else None
        return TestView(run, account_id, username, waiting, result, steps)


def _load_username(session: Session, job: Job, run: Run) -> str:
    try:
        return get_account(session, job, run.account_ids[0]).username if run.account_ids else ""
    except NotFoundError:
        return "an account that is gone"


def load_jobs(viewer: Viewer, portal_id: int) -> Sequence[Job]:
    """The jobs whose accounts can be tested."""
    with transaction() as session:
        return list_portal_jobs(session, viewer, portal_id, limit=JOBS_OFFERED)


def load_accounts(viewer: Viewer, job_id: str) -> dict[int, str]:
    """The accounts that can be tested, by id: their user names, and which are left alone."""
    with transaction() as session:
        accounts = list_accounts(session, get_job(session, viewer, job_id), limit=ACCOUNTS_OFFERED)
        stuck = {a.id for a in accounts if a.status == AccountStatus.NEEDS_ATTENTION}
        return {a.id: f"{a.username} (left alone)" if a.id in stuck else a.username for a in accounts}


def _capitalised(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
