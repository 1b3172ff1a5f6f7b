"""Users: creating them, signing in by password, and what ends their sessions."""

import unicodedata
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.audit import record_audit
from db.engine import transaction
from db.errors import ConflictError, NotFoundError, PunctualError
from db.models import Role, User
from db.passwords import generate_password, hash_password, verify_password
from db.sign_in_throttle import (
    MAX_USERNAME_LENGTH,
    check_sign_in_allowed,
    clear_sign_in_failures,
    is_storable,
    lock_sign_in_attempts,
    record_sign_in_failure,
)
from db.user_sessions import revoke_user_sessions
from db.viewers import Viewer
from recurrence import InvalidScheduleError, checked_time_zone


class InvalidCredentialsError(PunctualError):
    """The username or the password is wrong."""


class InvalidUserError(PunctualError):
    """This cannot be a user's name, address or time zone."""


class UsernameTakenError(ConflictError):
    """There is already a user of this name."""


def viewer_of(user: User) -> Viewer:
    """The user as readers of the database are told about."""
    return Viewer(user.id, user.username, user.name, Role(user.role), user.time_zone)


def create_user(
    session: Session,
    *,
    username: str,
    password: str,
    role: Role,
    email: str | None = None,
    name: str | None = None,
) -> User:
    """Add an active user. Raises InvalidUserError, UsernameTakenError, UnusablePasswordError."""
    username = check_username(username)
    user = User(
        username=username,
        email=(email or "").strip() or None,
        name=(name or "").strip() or username,
        password_hash=hash_password(password),
        role=Role(role),
    )
    try:
        with session.begin_nested():
            session.add(user)
    except IntegrityError:
        raise UsernameTakenError(f'there is already a user "{username}"') from None
    return user


def check_username(username: str) -> str:
    """The username without spaces around it. Raises InvalidUserError when nobody could type or tell it apart."""
    name = username.strip()
    if not name:
        raise InvalidUserError("the username is empty")
    if len(name) > MAX_USERNAME_LENGTH:
        raise InvalidUserError(f"the username has {len(name)} characters; at most {MAX_USERNAME_LENGTH} are possible")
    if any(c.isspace() or unicodedata.category(c).startswith("C") for c in name):
        raise InvalidUserError("the username has a space or an invisible character inside")
    return name


def get_user(session: Session, user_id: str) -> User:
    """One user, active or not. Raises NotFoundError."""
    user = session.get(User, user_id)
    if user is None:
        raise NotFoundError("there is no such user")
    return user


def find_user(session: Session, username: str) -> User | None:
    """The user of that name, in any case."""
    if not is_storable(username):
        return None
    return session.scalar(select(User).where(func.lower(User.username) == func.lower(username.strip())))


def get_viewer(session: Session, user_id: str) -> Viewer | None:
    """The user as a viewer, or None when there is none or the user was deactivated."""
    user = session.get(User, user_id)
    return viewer_of(user) if user is not None and user.is_active else None


def list_users(session: Session) -> list[User]:
    """All users by name, deactivated ones last."""
    return list(session.scalars(select(User).order_by(User.is_active.desc(), func.lower(User.username))))


def authenticate_user(session: Session, username: str, password: str, ip: str, now: datetime) -> User:
    """The active user with this password, whose sign-in is noted in `session`.

    Raises InvalidCredentialsError, the same and after the same time for an unknown or deactivated user as
    for a wrong password, and TooManyAttemptsError. Both outlive a rollback of `session`: what is counted is
    counted in transactions of its own, and no connection is held while hashing.
    """
    checked = _check_password(session.get_bind().engine, username, password, ip, now)
    # Locked, so that a password change or deactivation ends this sign-in too, whichever comes first.
    user = session.get(User, checked.user_id, with_for_update={"key_share": True}, populate_existing=True)
    if user is None or not user.is_active or user.password_hash != checked.password_hash:
        raise InvalidCredentialsError
    clear_sign_in_failures(session, username)
    user.last_login_at = now
    session.flush()
    return user


def change_password(
    session: Session,
    user_id: str,
    *,
    current: str,
    new: str,
    ip: str,
    now: datetime,
    keep_token: str | None = None,
) -> None:
    """Replace a user's own password and end all the user's sessions but `keep_token`'s.

    Raises InvalidCredentialsError when `current` is wrong, TooManyAttemptsError, UnusablePasswordError.
    """
    engine = session.get_bind().engine
    with transaction(engine) as own:
        username = get_user(own, user_id).username
    _check_password(engine, username, current, ip, now)
    user = get_user(session, user_id)
    _set_password(session, user, new, now, keep_token)
    record_audit(session, user_id, "password changed", f"user {user.username}")


def reset_password(session: Session, user_id: str, new: str, *, by: Viewer, now: datetime) -> None:
    """Give a user another password, as an admin, and end all the user's sessions."""
    user = get_user(session, user_id)
    _set_password(session, user, new, now, None)
    clear_sign_in_failures(session, user.username)
    record_audit(session, by.user_id, "password reset", f"user {user.username}")


def set_time_zone(session: Session, user_id: str, time_zone: str | None) -> None:
    """Show times in this IANA zone; None follows the browser. Raises InvalidUserError."""
    if time_zone is not None:
        try:
            checked_time_zone(time_zone)
        except InvalidScheduleError as error:
            raise InvalidUserError(str(error)) from None
    get_user(session, user_id).time_zone = time_zone
    session.flush()


def deactivate_user(session: Session, user_id: str, *, now: datetime, by: Viewer | None = None) -> None:
    """Refuse a user from now on and end all the user's sessions. Raises ConflictError for the last admin."""
    user = get_user(session, user_id)
    if user.role == Role.ADMIN and user.is_active and not _other_admins(session, user_id):
        raise ConflictError("this is the last active admin")
    user.is_active = False
    session.flush()
    revoke_user_sessions(session, user_id, now)
    record_audit(session, by.user_id if by else None, "user deactivated", f"user {user.username}")


def reactivate_user(session: Session, user_id: str, *, by: Viewer | None = None) -> None:
    """Let a deactivated user sign in again."""
    user = get_user(session, user_id)
    user.is_active = True
    session.flush()
    record_audit(session, by.user_id if by else None, "user reactivated", f"user {user.username}")


def set_role(session: Session, user_id: str, role: Role, *, by: Viewer | None = None) -> None:
    """Change what a user may do, from the next request on. Raises ConflictError for the last admin."""
    user = get_user(session, user_id)
    if user.role == Role.ADMIN and role is not Role.ADMIN and not _other_admins(session, user_id):
        raise ConflictError("this is the last active admin")
    before = user.role
    user.role = role
    session.flush()
    record_audit(
        session,
        by.user_id if by else None,
        "role changed",
        f"user {user.username}",
        before={"role": before},
        after={"role": role},
    )


def ensure_admin(session: Session, username: str, password: str | None) -> str | None:
    """Make sure that somebody can sign in: create the admin unless a user of that name exists.

    Without a password a random one is set and returned, but only while there is no active admin (a new
    database, or one adopted from an earlier system); an existing user's password is never touched.
    Returns None when nothing was generated.
    """
    session.execute(select(func.pg_advisory_xact_lock(func.hashtext("punctual first admin"))))
    if find_user(session, username) is not None:
        return None
    has_admin = select(User.id).where(User.role == Role.ADMIN, User.is_active).limit(1)
    if password is None and session.scalar(has_admin) is not None:
        return None
    generated = generate_password() if password is None else None
    create_user(session, username=username, password=password or generated or "", role=Role.ADMIN)
    return generated


@dataclass(frozen=True)
class _CheckedPassword:
    user_id: str
    password_hash: str


def _check_password(engine: Engine, username: str, password: str, ip: str, now: datetime) -> _CheckedPassword:
    """Whose password this is. Raises unless it is right, the user active, and it was not tried too often.

    The limit is looked at again after the slow check, one sign-in of a username at a time: of guesses sent in
    parallel no more are answered than of guesses in a row.
    """
    with transaction(engine) as before:
        check_sign_in_allowed(before, username, ip, now)
        user = find_user(before, username)
    password_hash = user.password_hash if user is not None and user.is_active else None
    matches = verify_password(password, password_hash)
    with transaction(engine) as after:
        lock_sign_in_attempts(after, username)
        check_sign_in_allowed(after, username, ip, now)
        if not matches:
            record_sign_in_failure(after, username, ip, now)
    if not matches or user is None:
        raise InvalidCredentialsError
    return _CheckedPassword(user.id, user.password_hash)


def _set_password(session: Session, user: User, new: str, now: datetime, keep_token: str | None) -> None:
    user.password_hash = hash_password(new)
    session.flush()
    revoke_user_sessions(session, user.id, now, keep_token=keep_token)


def _other_admins(session: Session, user_id: str) -> bool:
    """Whether another active admin exists; locks the admins, so that two cannot remove each other."""
    admins = session.scalars(
        select(User.id).where(User.role == Role.ADMIN, User.is_active).order_by(User.id).with_for_update(key_share=True)
    ).all()
    return any(admin != user_id for admin in admins)
