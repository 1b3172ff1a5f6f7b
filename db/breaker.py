"""The portal breaker: keeps all runs from signing in at a portal before refused sign-ins add up to harm.

It opens after five refused sign-ins in a row or over half of the last ten, whichever runs made them, and stays open
for its cool-down. After that, sign-ins are counted afresh: an account that was refused is left alone until a person
acts, so what a reopened portal is asked is never what it has refused before.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.models import Portal

MAX_REFUSED_IN_A_ROW = 5
WINDOW = 10
COOL_DOWN = timedelta(minutes=30)


def record_sign_ins(session: Session, portal_id: int, refusals: Sequence[bool], *, now: datetime) -> str | None:
    """Note how the portal answered sign-ins, in their order, whether it refused each; says why, if the breaker opens.

    An open breaker stays as it is, whatever sign-ins that were under way still bring. At a portal that refuses
    nobody it writes nothing, so runs do not wait for each other.
    """
    seen = select(Portal.recent_refusals, Portal.breaker_open_until).where(Portal.id == portal_id)
    recent, open_until = session.execute(seen).one()
    if not recent and not any(refusals):
        return None
    recent, open_until = session.execute(seen.with_for_update(key_share=True)).one()
    if open_until is not None and open_until > now:
        return None
    for is_refused in refusals:
        recent = add_sign_in(recent, is_refused=is_refused)
        reason = judge_sign_ins(recent)
        if reason is not None:
            _update(session, portal_id, recent_refusals=[], breaker_open_until=now + COOL_DOWN, breaker_reason=reason)
            return reason
    _update(session, portal_id, recent_refusals=recent)
    return None


def add_sign_in(recent: Sequence[bool], *, is_refused: bool) -> list[bool]:
    """The last ten sign-ins, from the first refused one on: what went before it changes no judgement."""
    last = [*recent, is_refused][-WINDOW:]
    return last[last.index(True) :] if True in last else []


def judge_sign_ins(recent: Sequence[bool]) -> str | None:
    """Why no other sign-in may be tried, if so; `recent` tells of each whether it was refused, the newest last."""
    if len(recent) >= MAX_REFUSED_IN_A_ROW and all(recent[-MAX_REFUSED_IN_A_ROW:]):
        return f"the portal refused {MAX_REFUSED_IN_A_ROW} sign-ins in a row"
    refused = sum(recent)
    if refused > WINDOW // 2:
        return f"the portal refused {refused} of the last {len(recent)} sign-ins"
    return None


def _update(session: Session, portal_id: int, **values: object) -> None:
    session.execute(
        update(Portal).where(Portal.id == portal_id).values(**values).execution_options(synchronize_session=False)
    )
