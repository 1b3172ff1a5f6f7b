"""Access tokens: signed JWTs (RFC 7519) whose `jti` is the secret of a row of `user_sessions`.

The signature alone lets nobody in: the row says whether the token was revoked and whose it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import jwt

from db.errors import PunctualError

ALGORITHM = "HS256"
ISSUER = "punctual"
AUDIENCE = "punctual api"
REQUIRED_CLAIMS = ["iss", "aud", "sub", "jti", "iat", "exp"]
MAX_TOKEN_CHARACTERS = 4096


class InvalidTokenError(PunctualError):
    """The access token is not valid or has expired; sign in again with POST /api/auth/login."""


class NotSignedInError(InvalidTokenError):
    """Sign in with POST /api/auth/login and send its access_token as "Authorization: Bearer ..."."""


@dataclass(frozen=True)
class TokenClaims:
    """What a token with a good signature says."""

    user_id: str
    session_token: str


def sign_token(claims: TokenClaims, key: bytes, *, now: datetime, ttl: timedelta) -> str:
    """The claims as a JWT that ends after `ttl`."""
    payload = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": claims.user_id,
        "jti": claims.session_token,
        "iat": now,
        "exp": now + ttl,
    }
    return jwt.encode(payload, key, algorithm=ALGORITHM)


def read_token(token: str, keys: Sequence[bytes]) -> TokenClaims:
    """The claims of a token made by `sign_token` with one of these keys, and not over. Raises InvalidTokenError."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise InvalidTokenError
    for key in keys:
        try:
            payload = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                options={"require": REQUIRED_CLAIMS},
            )
        except jwt.InvalidSignatureError:
            continue  # a key that was first before may have signed it
        except jwt.InvalidTokenError:
            break
        return TokenClaims(payload["sub"], payload["jti"])
    raise InvalidTokenError
