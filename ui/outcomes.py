"""How statuses look and what they ask for: label, sign and colour, the same on every page."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from db.models import Job, JobStatus, ResultStatus, RunStatus, RunTrigger

BadgeColour = Literal["green", "red", "orange", "gray", "blue"]

_HEX = {"green": "#16a34a", "red": "#dc2626", "orange": "#d97706", "gray": "#64748b", "blue": "#2563eb"}


@dataclass(frozen=True)
class Look:
    """A status as people see it."""

    label: str
    sign: str
    colour: BadgeColour
    icon: str

    @property
    def pill(self) -> str:
        """The text of its pill in a table."""
        return f"{self.sign} {self.label}"


_IDLE = Look("Idle", "○", "gray", ":material/radio_button_unchecked:")
_QUEUED = Look("Queued", "◌", "gray", ":material/schedule:")
_RUNNING = Look("Running", "▶", "blue", ":material/play_arrow:")
_COMPLETED = Look("Completed", "✓", "green", ":material/check:")
_PARTIAL = Look("Partly done", "◐", "orange", ":material/contrast:")
_FAILED = Look("Failed", "✕", "red", ":material/close:")
_STOPPED = Look("Stopped", "■", "gray", ":material/stop:")
_TIMED_OUT = Look("Timed out", "✕", "red", ":material/timer_off:")
_LOST = Look("Lost", "✕", "red", ":material/link_off:")

JOB_LOOKS: dict[str, Look] = {
    JobStatus.IDLE: _IDLE,
    JobStatus.QUEUED: _QUEUED,
    JobStatus.RUNNING: _RUNNING,
    JobStatus.COMPLETED: _COMPLETED,
    JobStatus.PARTIAL: _PARTIAL,
    JobStatus.FAILED: _FAILED,
    JobStatus.STOPPED: _STOPPED,
    JobStatus.TIMED_OUT: _TIMED_OUT,
    JobStatus.LOST: _LOST,
}

_PAUSED = Look("Paused", "‖", "gray", ":material/pause:")
_SCHEDULED = Look("Scheduled", "○", "blue", ":material/event:")

STATE_LOOKS = (_IDLE, _SCHEDULED, _PAUSED, _QUEUED, _RUNNING)

RUN_LOOKS: dict[str, Look] = {
    **{status: look for status, look in JOB_LOOKS.items() if status != JobStatus.IDLE},
    RunStatus.MISSED: Look("Missed", "!", "orange", ":material/event_busy:"),
    RunStatus.SKIPPED: Look("Skipped", "»", "gray", ":material/skip_next:"),
}

RESULT_LOOKS: dict[str, Look] = {
    ResultStatus.SUCCESS: Look("Success", "✓", "green", ":material/check:"),
    ResultStatus.NO_BILLS: Look("No bills", "✓", "green", ":material/check:"),
    ResultStatus.WRONG_CREDENTIALS: Look("Wrong credentials", "✕", "red", ":material/key_off:"),
    ResultStatus.NEEDS_ATTENTION: Look("Needs attention", "!", "orange", ":material/person_alert:"),
    ResultStatus.PORTAL_ERROR: Look("Portal error", "✕", "red", ":material/cloud_off:"),
    ResultStatus.PORTAL_CHANGED: Look("Portal changed", "!", "orange", ":material/web_asset_off:"),
    ResultStatus.NOT_TRIED: Look("Not tried", "»", "gray", ":material/skip_next:"),
    ResultStatus.FAILED: Look("Failed", "✕", "red", ":material/close:"),
}

TRIGGER_WORDS: dict[str, str] = {
    RunTrigger.SCHEDULE: "Schedule",
    RunTrigger.MANUAL: "By hand",
    RunTrigger.API: "API",
    RunTrigger.RETRY: "Retry",
    RunTrigger.BACKFILL: "Earlier system",
    RunTrigger.TEST: "Sign-in test",
}


def job_state(job: Job) -> Look:
    """What the job does now, apart from how its last run ended."""
    if job.status in (JobStatus.QUEUED, JobStatus.RUNNING):
        return JOB_LOOKS[job.status]
    if job.is_scheduled:
        return _PAUSED if job.paused_at is not None else _SCHEDULED
    return _IDLE


def render_badge(looks: dict[str, Look], status: StrEnum | str) -> None:
    """The status as a badge."""
    render_look(looks[status])


def render_look(look: Look) -> None:
    """A look as a badge."""
    st.badge(look.label, icon=look.icon, color=look.colour)


def pill_column(label: str, looks: Iterable[Look], *, width: int | None = None) -> ColumnConfig:
    """A table column that shows `[look.pill]` as a coloured pill."""
    distinct = {look.pill: _HEX[look.colour] for look in looks}
    return st.column_config.MultiselectColumn(
        label, options=list(distinct), color=list(distinct.values()), disabled=True, width=width
    )
