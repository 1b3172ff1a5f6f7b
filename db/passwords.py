"""Password hashes: bcrypt, the same hashes that streamlit-authenticator's `Hasher` makes and checks.

`Hasher` itself is a thin cover over this library, but importing it starts Streamlit, which the
database layer must not do. How strong a password has to be is decided where people choose one.
"""

import secrets
from functools import lru_cache

import bcrypt

from db.errors import PunctualError

MAX_PASSWORD_BYTES = 72
COST_FACTOR = 12


class UnusablePasswordError(PunctualError):
    """The password cannot be hashed: it is empty, or longer than bcrypt reads."""


def hash_password(password: str) -> str:
    """The bcrypt hash of a password. Raises UnusablePasswordError."""
    if not password:
        raise UnusablePasswordError("the password is empty")
    encoded = password.encode("utf-8", "surrogatepass")
    if len(encoded) > MAX_PASSWORD_BYTES:
        raise UnusablePasswordError(
            f"the password is {len(encoded)} bytes long; at most {MAX_PASSWORD_BYTES} are possible"
        )
    return bcrypt.hashpw(encoded, bcrypt.gensalt(COST_FACTOR)).decode()


def verify_password(password: str, password_hash: str | None) -> bool:
    """Whether the password belongs to the hash; without a hash it takes as long and is False."""
    encoded = password.encode("utf-8", "surrogatepass")
    usable = 0 < len(encoded) <= MAX_PASSWORD_BYTES
    candidate = encoded if usable else b"unusable"
    matches = bcrypt.checkpw(candidate, (password_hash or _decoy_hash()).encode())
    return matches and usable and password_hash is not None


def generate_password() -> str:
    """A random password of 24 characters (144 bits)."""
    return secrets.token_urlsafe(18)


@lru_cache(maxsize=1)
def _decoy_hash() -> str:
    """A hash of nothing anybody knows, so that unknown users cost the same time as wrong passwords."""
    return hash_password(generate_password())
