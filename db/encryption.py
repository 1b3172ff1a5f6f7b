"""Secrets at rest: portal passwords encrypted, and compared without being shown.

Keys come from `PUNCTUAL_SECRET_KEY` (one or several texts of at least 32 characters, separated by commas;
the first encrypts, all decrypt) or from the file `secret_key` under `PUNCTUAL_HOME`, made at first use.
`db.key_rotation` puts another key in the place of the first.
"""

import base64
import hmac
from functools import lru_cache
from hashlib import sha256

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from db.key_file import MIN_KEY_CHARACTERS, key_file_of, make_key_file, read_key_file
from settings import InvalidSettingsError, Settings


class WrongSecretKeyError(RuntimeError):
    """This was encrypted with another key; every machine needs the same PUNCTUAL_SECRET_KEY."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class SecretBox:
    """Encrypts and decrypts portal passwords. Holds keys: never log or pickle one."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        fernets = [Fernet(base64.urlsafe_b64encode(_derive(k, b"encrypt"))) for k in keys]
        self._first = fernets[0]
        self._all = MultiFernet(fernets)
        self._fingerprint_keys = [_derive(k, b"fingerprint") for k in keys]
        self._signing_keys = tuple(_derive(k, b"sign tokens") for k in keys)
        self._marks = tuple(_derive(k, b"mark").hex() for k in keys)

    def encrypt(self, plain: str) -> bytes:
        """The text, encrypted and authenticated (Fernet)."""
        return self._first.encrypt(plain.encode())

    def decrypt(self, encrypted: bytes) -> str:
        """The text again. Raises WrongSecretKeyError."""
        try:
            return self._all.decrypt(encrypted).decode()
        except InvalidToken:
            raise WrongSecretKeyError from None

    def is_current(self, encrypted: bytes) -> bool:
        """Whether it was encrypted with the first key."""
        try:
            self._first.decrypt(encrypted)
        except InvalidToken:
            return False
        return True

    def fingerprint(self, plain: str) -> str:
        """A keyed hash (HMAC-SHA256, hex): equal for equal texts, useless without the key."""
        return _fingerprint(self._fingerprint_keys[0], plain)

    def matches(self, plain: str, fingerprint: str) -> bool:
        """Whether the fingerprint is that of the text, under the first key or one that was."""
        return any(hmac.compare_digest(_fingerprint(key, plain), fingerprint) for key in self._fingerprint_keys)

    @property
    def marks(self) -> tuple[str, ...]:
        """They tell the keys from others without showing them; the first is the first key's."""
        return self._marks

    @property
    def signing_key(self) -> bytes:
        """The key that signs API tokens."""
        return self._signing_keys[0]

    @property
    def signing_keys(self) -> tuple[bytes, ...]:
        """The keys that may have signed an API token: while keys are changed, nobody is signed out."""
        return self._signing_keys


def open_secret_box(settings: Settings) -> SecretBox:
    """The box for this installation, by the keys that hold now. Raises InvalidSettingsError when a key is too short."""
    if settings.secret_key is not None:
        return _open_box(_split_keys(settings.secret_key.get_secret_value()))
    path = key_file_of(settings)
    return _open_box(read_key_file(path) or make_key_file(path))


_open_box = lru_cache(maxsize=2)(SecretBox)  # the keys are read at each use, but derived from only when they change


def _split_keys(text: str) -> tuple[str, ...]:
    keys = tuple(k.strip() for k in text.split(",") if k.strip())
    if not keys or any(len(k) < MIN_KEY_CHARACTERS for k in keys):
        raise InvalidSettingsError(
            f"PUNCTUAL_SECRET_KEY: too short; each key needs at least {MIN_KEY_CHARACTERS} characters "
            "(make one with: openssl rand -hex 32)"
        )
    return keys


def _fingerprint(key: bytes, plain: str) -> str:
    return hmac.new(key, plain.encode(), sha256).hexdigest()


def _derive(key: str, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=b"punctual", info=purpose).derive(key.encode())
