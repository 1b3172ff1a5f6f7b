"""Which key the stored portal passwords are encrypted with: read, renewed in batches, and held to by every writer."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.encryption import SecretBox, WrongSecretKeyError
from db.errors import ConflictError
from db.models import Account, Job, SecretKeyMark

WRITERS_LOCK = 0x5365637265  # "Secre"
ROTATION_LOCK = 0x526F74617465  # "Rotate"


class OutdatedKeyError(ConflictError):
    """Passwords are encrypted with another key by now than this process was started with; after a change of
    PUNCTUAL_SECRET_KEY, restart the web and run: python -m db rotate-key."""

    def __init__(self) -> None:
        super().__init__(" ".join((self.__doc__ or "").rstrip(".").split()))


@dataclass(frozen=True)
class RenewedBatch:
    """What became of the accounts up to `last_id`; there were none when that is None."""

    last_id: int | None
    seen: int
    renewed: int
    unreadable: int


def hold_to_key(session: Session, box: SecretBox) -> None:
    """Before passwords are written: see that the box's first key is the one that counts, until the transaction ends.

    Raises OutdatedKeyError.
    """
    session.execute(select(func.pg_advisory_xact_lock_shared(WRITERS_LOCK)))
    mark = session.scalar(select(SecretKeyMark.mark))
    if mark is not None and mark != box.marks[0]:
        raise OutdatedKeyError


def set_key_mark(session: Session, box: SecretBox) -> None:
    """From the end of this transaction on, let passwords be written with the box's first key only.

    Waits for those who are writing with another one.
    """
    session.execute(select(func.pg_advisory_xact_lock(WRITERS_LOCK)))
    row = insert(SecretKeyMark).values(id=1, mark=box.marks[0])
    session.execute(
        row.on_conflict_do_update(index_elements=["id"], set_={"mark": row.excluded.mark, "set_at": func.now()})
    )


def try_to_begin_rotation(session: Session) -> bool:
    """Whether nobody else rotates keys. It lasts until `end_rotation`, or as long as the session's connection."""
    return bool(session.scalar(select(func.pg_try_advisory_lock(ROTATION_LOCK))))


def end_rotation(session: Session) -> None:
    """Let others rotate keys, over the same connection."""
    session.execute(select(func.pg_advisory_unlock(ROTATION_LOCK)))


def count_secrets(session: Session) -> int:
    """How many passwords are stored."""
    return session.scalar(select(func.count()).select_from(Account)) or 0


def list_unreadable_jobs(
    session: Session, box: SecretBox, *, after_id: int, limit: int
) -> tuple[int | None, list[str]]:
    """Of the next accounts, the job of each whose password none of the keys decrypts; and the last account's id."""
    rows = session.execute(
        select(Account.id, Account.session_id, Account.secret)
        .where(Account.id > after_id)
        .order_by(Account.id)
        .limit(limit)
    ).all()
    return (rows[-1].id if rows else None), [row.session_id for row in rows if not _is_readable(row.secret, box)]


def list_job_names(session: Session, job_ids: Sequence[str]) -> Sequence[str]:
    """What those jobs are called."""
    return session.scalars(select(Job.name).where(Job.id.in_(job_ids)).order_by(Job.name)).all()


def renew_secrets(session: Session, box: SecretBox, *, after_id: int, limit: int) -> RenewedBatch:
    """Encrypt the next accounts' passwords with the first key, fingerprints too; leave those that no key decrypts."""
    rows = session.execute(
        select(Account.id, Account.secret, Account.fingerprint)
        .where(Account.id > after_id)
        .order_by(Account.id)
        .limit(limit)
        .with_for_update(key_share=True)
    ).all()
    renewed: list[tuple[int, bytes, str]] = []
    unreadable = 0
    for row in rows:
        try:
            password = box.decrypt(row.secret)
        except WrongSecretKeyError:
            unreadable += 1
            continue
        fingerprint = box.fingerprint(password)
        if not box.is_current(row.secret) or row.fingerprint != fingerprint:
            renewed.append((row.id, box.encrypt(password), fingerprint))
    if renewed:
        ids, secrets, fingerprints = (list(column) for column in zip(*renewed, strict=True))
        session.execute(_STORE, {"ids": ids, "secrets": secrets, "fingerprints": fingerprints})
    return RenewedBatch(rows[-1].id if rows else None, len(rows), len(renewed), unreadable)


def _is_readable(secret: bytes, box: SecretBox) -> bool:
    try:
        box.decrypt(secret)
    except WrongSecretKeyError:
        return False
    return True


_STORE = text("""
    UPDATE accounts SET secret = renewed.secret, fingerprint = renewed.fingerprint
    FROM unnest(CAST(:ids AS bigint[]), CAST(:secrets AS bytea[]), CAST(:fingerprints AS text[]))
         AS renewed (id, secret, fingerprint)
    WHERE accounts.id = renewed.id
""").bindparams(bindparam("ids"), bindparam("secrets"), bindparam("fingerprints"))
