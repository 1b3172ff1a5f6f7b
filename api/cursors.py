"""Cursors of lists: opaque to clients, signed, and good only for the list they were made for."""

import base64
import hmac
import json
from hashlib import sha256

from db.errors import PunctualError

SIGNATURE_BYTES = 16
MAX_CURSOR_CHARACTERS = 1000

Position = list[str | int | None]


class InvalidCursorError(PunctualError):
    """cursor: it does not belong to this list; send next_cursor of the previous page, unchanged."""


def make_cursor(key: bytes, list_name: str, position: Position) -> str:
    """The place in a list from which the next page goes on. `list_name` holds what the place depends on."""
    payload = json.dumps(position, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_sign(key, list_name, payload) + payload).rstrip(b"=").decode()


def read_cursor(key: bytes, list_name: str, cursor: str) -> Position:
    """The position again. Raises InvalidCursorError for anything but an answer of `make_cursor`."""
    if len(cursor) > MAX_CURSOR_CHARACTERS or not cursor.isascii():
        raise InvalidCursorError
    try:
        content = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise InvalidCursorError from None
    signature, payload = content[:SIGNATURE_BYTES], content[SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _sign(key, list_name, payload)):
        raise InvalidCursorError
    return json.loads(payload)


def _sign(key: bytes, list_name: str, payload: bytes) -> bytes:
    # Tokens are signed with the same key; no token begins like this.
    message = f"cursor:{list_name}:".encode() + payload
    return hmac.new(key, message, sha256).digest()[:SIGNATURE_BYTES]
