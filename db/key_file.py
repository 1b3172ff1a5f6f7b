"""The file `secret_key` under `PUNCTUAL_HOME`: one key a line, the first encrypts, all decrypt.

Written whole or not at all, and readable by its owner only. It holds several keys only while `rotate-key` is at work.
"""

import os
import secrets
from pathlib import Path

from settings import InvalidSettingsError, Settings

MIN_KEY_CHARACTERS = 32


def key_file_of(settings: Settings) -> Path:
    """Where this installation's key is when `PUNCTUAL_SECRET_KEY` is not set."""
    return settings.home / "secret_key"


def make_key() -> str:
    """A new key."""
    return secrets.token_hex(32)


def read_key_file(path: Path) -> tuple[str, ...] | None:
    """The keys; None when there is no file. Raises InvalidSettingsError when one of them is no key."""
    try:
        lines = path.read_text().split("\n")
    except FileNotFoundError:
        return None
    keys = tuple(line.strip() for line in lines if line.strip())
    shortest = min((len(key) for key in keys), default=0)
    if shortest < MIN_KEY_CHARACTERS:
        raise InvalidSettingsError(f"the key file {path.name} is damaged: found {shortest} characters, expected 64")
    return keys


def make_key_file(path: Path) -> tuple[str, ...]:
    """Make the file with one new key and return what it holds; two processes that make it at once agree on one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _write_draft(path, (make_key(),))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first; its key counts
    finally:
        draft.unlink()
    keys = read_key_file(path)
    if keys is None:
        raise InvalidSettingsError(f"the key file {path.name} was removed while Punctual started; start it again")
    return keys


def replace_key_file(path: Path, keys: tuple[str, ...]) -> None:
    """Put these keys in the place of the file's, for the same owner. Readers see the old ones or the new ones."""
    for leftover in path.parent.glob(f".{path.name}.*"):
        leftover.unlink()  # of a process that was killed before it put its draft in place
    owner = path.stat()
    draft = _write_draft(path, keys)
    os.chown(draft, owner.st_uid, owner.st_gid)
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # what the keys encrypt must not outlive them
    finally:
        os.close(folder)


def _write_draft(path: Path, keys: tuple[str, ...]) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("\n".join(keys))
        file.flush()
        os.fsync(file.fileno())  # what they encrypt must not outlive them
    return draft
