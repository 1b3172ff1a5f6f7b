"""`rotate-key`: put another key in the place of the one that portal passwords are encrypted with.

It may be killed at any point and run again. Until the end every password can be read with the keys that are known
then; at the end, with the first alone. No key is dropped before that, and none is ever shown.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from db.encryption import SecretBox, open_secret_box
from db.engine import transaction
from db.errors import ConflictError, PunctualError
from db.instances import list_instances
from db.key_file import key_file_of, make_key, read_key_file, replace_key_file
from db.secret_keys import (
    count_secrets,
    end_rotation,
    list_job_names,
    list_unreadable_jobs,
    renew_secrets,
    set_key_mark,
    try_to_begin_rotation,
)
from settings import Settings

BATCH_SIZE = 500
SHOWN_JOBS = 5
TRIES = 10  # each waits up to the lock timeout for who changes the same accounts
PAUSE_SECONDS = 0.5
TURN_SECONDS = 20  # longer than a killed one's statement may go on waiting for a lock
WAITED_TOO_LONG = ("55P03", "40P01")  # lock_not_available, deadlock_detected

T = TypeVar("T")
Say = Callable[[str], None]


class KeysMissingError(PunctualError):
    """Passwords are stored that none of the given keys decrypts."""


@dataclass(frozen=True)
class Rotation:
    """How many passwords there were, how many got the first key only now, and how many no key decrypts."""

    total: int
    renewed: int
    unreadable: int


def rotate_key(engine: Engine, settings: Settings, say: Say, *, leave_unreadable: bool = False) -> Rotation:
    """Encrypt every portal password with the first key, a new one when the keys are in the key file.

    Raises KeysMissingError, before anything is changed, unless those passwords are to be left as they are;
    ConflictError while another process rotates or a scheduler runs that does not know the key; InvalidSettingsError.
    """
    with _alone(engine, say):
        _require_keys(engine, settings, leave_unreadable=leave_unreadable)
        if settings.secret_key is None:
            _begin_new_key(settings, say)
        box = open_secret_box(settings)
        if settings.secret_key is not None:
            _require_restarted_schedulers(engine, box)
        _with_patience(engine, lambda session: set_key_mark(session, box), say)
        done = _renew_all(engine, box, say)
        if settings.secret_key is None:
            _drop_old_keys(settings)
        return done


@contextmanager
def _alone(engine: Engine, say: Say) -> Generator[None]:
    with engine.connect() as connection, Session(connection) as session:
        _take_turn(session, say)
        try:
            yield
        finally:
            with session.begin():
                end_rotation(session)


def _take_turn(session: Session, say: Say) -> None:
    """Wait a while: of a process that was killed, the database may not know it yet."""
    deadline = time.monotonic() + TURN_SECONDS
    has_said = False
    while True:
        with session.begin():
            if try_to_begin_rotation(session):
                return
        if time.monotonic() >= deadline:
            raise ConflictError("another rotate-key is at work; wait for its end")
        if not has_said:
            say("Another rotate-key is at work, or was killed a moment ago; waiting for its end.")
            has_said = True
        time.sleep(PAUSE_SECONDS)


def _require_keys(engine: Engine, settings: Settings, *, leave_unreadable: bool) -> None:
    with transaction(engine) as session:
        total = count_secrets(session)
    if settings.secret_key is None and total and read_key_file(key_file_of(settings)) is None:
        raise KeysMissingError(
            f"{total:,} passwords are stored, PUNCTUAL_SECRET_KEY is not set, and there is no key file "
            f"{key_file_of(settings)}; set PUNCTUAL_SECRET_KEY or PUNCTUAL_HOME as the web and the scheduler have it"
        )
    box = open_secret_box(settings)
    jobs: list[str] = []
    last_id: int | None = 0
    while last_id is not None:
        with transaction(engine) as session:
            last_id, unreadable = list_unreadable_jobs(session, box, after_id=last_id, limit=BATCH_SIZE)
        jobs += unreadable
    if jobs and not leave_unreadable:
        raise KeysMissingError(_explain_missing_key(engine, settings, jobs, total))


def _explain_missing_key(engine: Engine, settings: Settings, jobs: list[str], total: int) -> str:
    affected = set(jobs)
    with transaction(engine) as session:
        names = [f'"{name}"' for name in list_job_names(session, sorted(affected)[:SHOWN_JOBS])]
    if len(affected) > SHOWN_JOBS:
        names.append(f"{len(affected) - SHOWN_JOBS:,} more")
    where = "the key file" if settings.secret_key is None else "PUNCTUAL_SECRET_KEY"
    add = (
        "set PUNCTUAL_SECRET_KEY to a new key and the old ones"
        if settings.secret_key is None
        else "add the key that they were encrypted with to PUNCTUAL_SECRET_KEY"
    )
    return (
        f"{len(jobs):,} of {total:,} passwords are encrypted with a key that is not in {where} "
        f"(jobs {', '.join(names)}). Nothing was changed. To go on, {add}, after the first, separated by commas. "
        "If that key is lost: python -m db rotate-key --leave-unreadable, then replace the accounts of these jobs"
    )


def _require_restarted_schedulers(engine: Engine, box: SecretBox) -> None:
    with transaction(engine) as session:
        alive = list_instances(session, datetime.now(UTC))
    outdated = [f"{i.host} (process {i.pid})" for i in alive if box.marks[0] not in (i.key_marks or ())]
    if outdated:
        raise ConflictError(
            f"scheduler_service on {', '.join(outdated)} was started without the first key of PUNCTUAL_SECRET_KEY, and "
            "its runs could not read the passwords any more. Nothing was changed. Restart it with the keys as they are "
            "here, then run this again"
        )


def _begin_new_key(settings: Settings, say: Say) -> None:
    """Put a new key first into the key file; not when an earlier rotation did and was not finished."""
    open_secret_box(settings)  # makes the file where there is none
    path = key_file_of(settings)
    keys = read_key_file(path) or ()
    if len(keys) > 1:
        say(f"Going on with the new key that {path} holds already.")
        return
    replace_key_file(path, (make_key(), *keys))
    say(f"Made a new key in {path}; the old one stays there until every password has the new one.")


def _drop_old_keys(settings: Settings) -> None:
    path = key_file_of(settings)
    keys = read_key_file(path) or ()
    replace_key_file(path, keys[:1])


def _renew_all(engine: Engine, box: SecretBox, say: Say) -> Rotation:
    with transaction(engine) as session:
        total = count_secrets(session)
    last_id, seen, renewed, unreadable, said = 0, 0, 0, 0, 0
    while True:
        batch = _with_patience(engine, lambda s, a=last_id: renew_secrets(s, box, after_id=a, limit=BATCH_SIZE), say)
        if batch.last_id is None:
            return Rotation(seen, renewed, unreadable)
        last_id = batch.last_id
        seen, renewed, unreadable = seen + batch.seen, renewed + batch.renewed, unreadable + batch.unreadable
        if (tenths := min(seen * 10 // max(total, 1), 10)) > said:
            said = tenths
            say(f"{seen:,} of {max(total, seen):,} passwords: {renewed:,} encrypted anew")


def _with_patience(engine: Engine, work: Callable[[Session], T], say: Say) -> T:
    """Do it in a transaction of its own; again when somebody's change of the same accounts took too long."""
    for left in reversed(range(TRIES)):
        try:
            with transaction(engine) as session:
                return work(session)
        except DBAPIError as error:
            if getattr(error.orig, "pgcode", None) not in WAITED_TOO_LONG:
                raise
            if not left:
                break
            say("Somebody is changing accounts; waiting for them.")
            time.sleep(PAUSE_SECONDS)
    raise ConflictError("somebody keeps the accounts from being changed; run rotate-key again later, it goes on then")
