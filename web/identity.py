"""Who is asking, passed from the session gate to the page scripts of the same process.

The gate writes it into a request header, which Streamlit hands to scripts. The header is sealed with a key
that lives only in this process, so a script started without the gate never believes a client's own header.
"""

import hashlib
import hmac
import secrets

IDENTITY_HEADER = "X-Punctual-User"

_PROCESS_KEY = secrets.token_bytes(32)


def seal_identity(user_id: str) -> str:
    """The header's value for a user whose session was checked."""
    return f"{user_id}.{_seal(user_id)}"


def open_identity(value: str | None) -> str | None:
    """The user id inside a header's value, or None when this process did not seal it."""
    user_id, _, seal = (value or "").rpartition(".")
    return user_id if user_id and hmac.compare_digest(seal.encode(), _seal(user_id).encode()) else None


def is_identity_header(name: bytes) -> bool:
    """Whether a client sent this header to pose as somebody; in any case, with dashes or underscores."""
    return name.lower().replace(b"_", b"-").startswith(b"x-punctual-")


def _seal(user_id: str) -> str:
    return hmac.new(_PROCESS_KEY, user_id.encode(), hashlib.sha256).hexdigest()
