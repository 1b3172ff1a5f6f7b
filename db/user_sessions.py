"""Signed-in browsers and API tokens: opaque random tokens of which only the SHA-256 is stored."""

import hashlib
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.orm import Session

from db.models import Role, SessionKind, User, UserSession
from db.viewers import Viewer

KEPT_AFTER_END = timedelta(days=30)
MAX_USER_AGENT_LENGTH = 400


def create_user_session(
    session: Session,
    user: User,
    kind: SessionKind,
    now: datetime,
    ttl: timedelta,
    ip: str | None,
    user_agent: str | None,
) -> str:
    """Start a session that ends after `ttl`; returns its token (256 random bits), which is not kept."""
    token = secrets.token_urlsafe(32)
    session.add(
        UserSession(
            token_hash=hash_token(token),
            user_id=user.id,
            kind=kind,
            created_at=now,
            expires_at=now + ttl,
            ip=ip,
            user_agent=user_agent.replace("\x00", "")[:MAX_USER_AGENT_LENGTH] if user_agent else None,
        )
    )
    session.flush()
    return token


def find_viewer(session: Session, token: str, kind: SessionKind, now: datetime) -> Viewer | None:
    """Whose session this is, or None when it is unknown, over, revoked, or its user deactivated."""
    row = session.execute(
        select(User.id, User.username, User.name, User.role, User.time_zone)
        .join(UserSession, UserSession.user_id == User.id)
        .where(UserSession.token_hash == hash_token(token), UserSession.kind == kind, *_is_live(now))
    ).one_or_none()
    if row is None:
        return None
    return Viewer(row.id, row.username, row.name, Role(row.role), row.time_zone)


def list_live_sessions(session: Session, token_hashes: Collection[str], now: datetime) -> set[str]:
    """Which of the sessions, given by the hashes of their tokens, are still good."""
    if not token_hashes:
        return set()
    return set(
        session.scalars(
            select(UserSession.token_hash)
            .join(User, UserSession.user_id == User.id)
            .where(UserSession.token_hash.in_(token_hashes), *_is_live(now))
        )
    )


def revoke_session(session: Session, token: str, now: datetime) -> bool:
    """End one session; returns whether it was open."""
    return _revoke(session, now, UserSession.token_hash == hash_token(token)) == 1


def revoke_user_sessions(session: Session, user_id: str, now: datetime, *, keep_token: str | None = None) -> int:
    """End all sessions of a user, browsers and tokens, but the one of `keep_token`; returns how many."""
    criteria = [UserSession.user_id == user_id]
    if keep_token is not None:
        criteria.append(UserSession.token_hash != hash_token(keep_token))
    return _revoke(session, now, *criteria)


def purge_sessions(session: Session, now: datetime) -> int:
    """Delete sessions that ended over 30 days ago; returns how many."""
    longest_ago = now - KEPT_AFTER_END
    over = or_(UserSession.expires_at < longest_ago, UserSession.revoked_at < longest_ago)
    return len(session.scalars(delete(UserSession).where(over).returning(UserSession.token_hash)).all())


def hash_token(token: str) -> str:
    """What is stored of a token: a random one of 256 bits needs no salt and no slow hash."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _is_live(now: datetime) -> list[ColumnElement[bool]]:
    return [UserSession.revoked_at.is_(None), UserSession.expires_at > now, User.is_active.is_(True)]


def _revoke(session: Session, now: datetime, *criteria: ColumnElement[bool]) -> int:
    ended = session.scalars(
        update(UserSession)
        .where(UserSession.revoked_at.is_(None), *criteria)
        .values(revoked_at=now)
        .returning(UserSession.token_hash)
    )
    return len(ended.all())
