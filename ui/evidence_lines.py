"""A line of evidence as a card: what was counted, over how much, what guards it, and what to look at."""

from datetime import datetime
from zoneinfo import ZoneInfo

import streamlit as st

from db.doubles import Finding
from db.evidence import Line
from ui.moments import exact
from ui.plain_text import plain

NOUNS = {
    "runs": ("run", "runs"),
    "attempts": ("attempt", "attempts"),
    "results": ("result", "results"),
    "running": ("running run", "running runs"),
}


def render_line(line: Line, zone: ZoneInfo, now: datetime) -> None:
    """The card: green while it is as it should be, red with what to look at when it is not."""
    with st.container(border=True, height="stretch", gap="xsmall"):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.markdown(f"**{line.title}**", width="content")
            if line.is_fine:
                st.badge(f"{line.count:,}", icon=":material/check:", color="green")
            else:
                st.badge(f"{line.count:,}", icon=":material/error:", color="red")
        st.markdown(line.meaning)
        if line.guard is not None and line.guard.holds:
            st.caption(
                f"Made impossible by the unique index `{line.guard.name}`: in place.",
                help=plain(line.guard.definition or ""),
            )
        elif line.guard is not None:
            st.markdown(f":red[The unique index that makes it impossible, `{line.guard.name}`, {line.guard.problem}.]")
        st.caption(describe_scope(line, zone, now))
        render_findings(line, zone, now)


def describe_scope(line: Line, zone: ZoneInfo, now: datetime) -> str:
    """Over how much it was counted, in a sentence that claims no more."""
    checked = line.checked
    back = f", back to {exact(line.since, zone, now)}" if line.since is not None else ""
    match line.key:
        case "gaps":
            jobs, in_force = checked["jobs"], checked["jobs_in_force"]
            occurrences = _count(checked["occurrences"], "occurrence", "occurrences")
            some = f"{jobs:,} of {in_force:,} jobs" if jobs < in_force else _count(jobs, "job", "jobs")
            return f"Checked {some} with a schedule in force, {occurrences}{back}."
        case "overdue":
            return f"Checked {_count(checked['jobs_in_force'], 'job', 'jobs')} with a schedule in force."
        case "schedulers_alive":
            return f"{checked['firing']:,} of them fired within the last 75 seconds."
        case _:
            ((noun, count),) = checked.items()
            return f"Checked {_count(count, *NOUNS[noun])}{back}."


def render_findings(line: Line, zone: ZoneInfo, now: datetime) -> None:
    """What to look at, with links; the first of many."""
    if line.findings:
        st.markdown("\n".join(f"- {describe_finding(finding, zone, now)}" for finding in line.findings))
    if line.findings and line.count > len(line.findings):
        st.caption(f"And {line.count - len(line.findings):,} more.")


def describe_finding(finding: Finding, zone: ZoneInfo, now: datetime) -> str:
    """A finding in Markdown: the job, what is the matter, when, and its runs."""
    at = f", {exact(finding.at, zone, now)}" if finding.at is not None else ""
    runs = ", ".join(f"[run {run_id}](/run?id={run_id})" for run_id in finding.run_ids)
    words = f"[{plain(finding.job_name)}](/job?id={finding.job_id}) {plain(finding.words)}{plain(at)}"
    return words + (f": {runs}" if runs else "")


def _count(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
