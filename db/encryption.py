"""Secrets at rest: portal passwords encrypted, and compared without being shown.

Keys come from `PUNCTUAL_SECRET_KEY` (one or several texts of at least 32 characters, separated by commas;
the first encrypts, all decrypt) or from the file `secret_key` under `PUNCTUAL_HOME`, made at first use.
"""

import base64
import hmac
import os
import secrets
from hashlib import sha256
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from settings import InvalidSettingsError, Settings

MIN_KEY_CHARACTERS = 32


class WrongSecretKeyError(RuntimeError):
    """This was encrypted with another key; every machine needs the same PUNCTUAL_SECRET_KEY."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class SecretBox:
    """Encrypts and decrypts portal passwords. Holds keys: never log or pickle one."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(_derive(k, b"encrypt"))) for k in keys])
        self._fingerprint_keys = [_derive(k, b"fingerprint") for k in keys]
        self._signing_key = _derive(keys[0], b"sign tokens")

    def encrypt(self, plain: str) -> bytes:
        """The text, encrypted and authenticated (Fernet)."""
        return self._fernet.encrypt(plain.encode())

    def decrypt(self, encrypted: bytes) -> str:
        """The text again. Raises WrongSecretKeyError."""
        try:
            return self._fernet.decrypt(encrypted).decode()
        except InvalidToken:
            raise WrongSecretKeyError from None

    def fingerprint(self, plain: str) -> str:
        """A keyed hash (HMAC-SHA256, hex): equal for equal texts, useless without the key."""
        return _fingerprint(self._fingerprint_keys[0], plain)

    def matches(self, plain: str, fingerprint: str) -> bool:
        """Whether the fingerprint is that of the text, under the first key or one that was."""
        return any(hmac.compare_digest(_fingerprint(key, plain), fingerprint) for key in self._fingerprint_keys)

    @property
    def signing_key(self) -> bytes:
        """The key that signs API tokens."""
        return self._signing_key


def open_secret_box(settings: Settings) -> SecretBox:
    """The box for this installation. Raises InvalidSettingsError when a key is too short."""
    if settings.secret_key is None:
        return SecretBox((_read_or_make_key(settings.home / "secret_key"),))
    keys = tuple(k.strip() for k in settings.secret_key.get_secret_value().split(",") if k.strip())
    if not keys or any(len(k) < MIN_KEY_CHARACTERS for k in keys):
        raise InvalidSettingsError(
            f"PUNCTUAL_SECRET_KEY: too short; each key needs at least {MIN_KEY_CHARACTERS} characters "
            "(make one with: openssl rand -hex 32)"
        )
    return SecretBox(keys)


def _fingerprint(key: bytes, plain: str) -> str:
    return hmac.new(key, plain.encode(), sha256).hexdigest()


def _derive(key: str, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=b"punctual", info=purpose).derive(key.encode())


def _read_or_make_key(path: Path) -> str:
    """The key file's content; two processes that make it at once agree on one."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".secret_key.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())  # what it encrypts must not outlive it
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another process was first; its key counts
        finally:
            draft.unlink()
    key = path.read_text().strip()
    if len(key) < MIN_KEY_CHARACTERS:
        raise InvalidSettingsError(f"the key file {path.name} is damaged: found {len(key)} characters, expected 64")
    return key
