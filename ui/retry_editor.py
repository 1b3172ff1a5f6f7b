"""The part of a form that says how often failed accounts are tried again, and after which wait."""

import streamlit as st

from db.models import MAX_ATTEMPTS, MAX_RETRY_DELAY_SECONDS
from db.planning import in_words
from db.retries import DEFAULT_RETRY_POLICY, RetryPolicy

WAITS = [0, 30, 60, 300, 900, 1800, 3600, 2 * 3600, MAX_RETRY_DELAY_SECONDS]
WAITS_SHOWN = 4


def render_retry_editor(key: str, retries: RetryPolicy, *, expanded: bool = False) -> RetryPolicy:
    """The controls, holding `retries` at first; returns what is chosen."""
    with st.expander("Retries", icon=":material/replay:", expanded=expanded):
        left, right = st.columns(2)
        attempts = left.number_input(
            "Attempts",
            min_value=1,
            max_value=MAX_ATTEMPTS,
            value=retries.max_attempts,
            step=1,
            key=f"{key}-attempts",
            help="The first one included; 1 means no retry. A crash of an import counts as one too.",
        )
        waits = sorted({*WAITS, retries.retry_delay_seconds})
        delay = right.selectbox(
            "Wait before a retry",
            waits,
            index=waits.index(retries.retry_delay_seconds),
            format_func=lambda seconds: in_words(seconds) if seconds else "None",
            disabled=attempts == 1,
            key=f"{key}-retry-delay",
            help="Doubles with each attempt, at most 6 h; a fifth more or less, to spread the jobs.",
        )
        chosen = RetryPolicy(attempts, delay)
        st.caption(explain_retries(chosen))
        return chosen


def explain_retries(retries: RetryPolicy) -> str:
    """What the policy does, in two sentences."""
    never = "Refused sign-ins are never repeated."
    if retries.max_attempts == 1:
        return f"Nothing is tried again by itself. {never}"
    waits = [min(retries.retry_delay_seconds * 2**n, MAX_RETRY_DELAY_SECONDS) for n in range(retries.max_attempts - 1)]
    words = ", then ".join(_roughly(seconds) for seconds in waits[:WAITS_SHOWN]) if waits[0] else "at once"
    more = " and so on" if waits[0] and len(waits) > WAITS_SHOWN else ""
    return f"Accounts that failed for a passing reason are tried again {words}{more}. {never}"


def describe_retries(retries: RetryPolicy) -> str:
    """What differs from the usual, in one line; empty when nothing does."""
    if retries == DEFAULT_RETRY_POLICY:
        return ""
    if retries.max_attempts == 1:
        return "failed accounts are not tried again by themselves"
    wait = _roughly(retries.retry_delay_seconds) if retries.retry_delay_seconds else "at once"
    return f"failed accounts are tried again {wait}, {retries.max_attempts} attempts in all"


def _roughly(seconds: int) -> str:
    """ "after about 4 min"; hours and minutes where the number is no round one."""
    if seconds >= 3600 and seconds % 3600:
        return f"after about {seconds // 3600} h {seconds % 3600 // 60} min"
    return f"after about {in_words(seconds)}"
