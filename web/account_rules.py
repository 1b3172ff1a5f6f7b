"""What a username, an e-mail address and a password must be like where people choose them.

The rules are streamlit-authenticator's, with one difference: its passwords end at 20 characters, which
refuses passphrases and what password managers make. A longer password is good by its length alone.
"""

import logging
from functools import lru_cache
from typing import TYPE_CHECKING

from db.passwords import MAX_PASSWORD_BYTES

LONG_PASSWORD = 21
PASSWORD_RULES = (
    "At least 8 characters with a lower-case letter, an upper-case letter, a digit and a special character, "
    f"or a passphrase of {LONG_PASSWORD} characters or more."
)

if TYPE_CHECKING:
    from streamlit_authenticator.utilities import Validator


def username_problem(username: str) -> str | None:
    """What is wrong with a new username, as a sentence, or None."""
    if _validator().validate_username(username):
        return None
    return "A username has 1 to 20 letters, digits, - or _, or is an e-mail address."


def email_problem(email: str) -> str | None:
    """What is wrong with an e-mail address, as a sentence, or None."""
    if _validator().validate_email(email):
        return None
    return "That is not an e-mail address."


def password_problem(password: str) -> str | None:
    """What a new password lacks, as a sentence, or None."""
    if len(password.encode("utf-8", "surrogatepass")) > MAX_PASSWORD_BYTES:
        return f"A password has at most {MAX_PASSWORD_BYTES} bytes; letters outside English count for several."
    if len(password) >= LONG_PASSWORD:
        return None
    missing = [line.strip() for line in _validator().diagnose_password(password).split("\n\n")[1:] if line.strip()]
    return f"The new password needs {', '.join(map(_as_noun, missing))}." if missing else None


def new_password_problem(new: str, repeated: str, *, current: str) -> str | None:
    """What speaks against replacing `current` by `new`, as a sentence, or None."""
    if new != repeated:
        return "The two new passwords differ."
    if new == current:
        return "The new password is the same as the current one."
    return password_problem(new)


def _as_noun(requirement: str) -> str:
    """`Contain at least one digit` and `Between 8 and 20 characters long`, to follow "needs"."""
    return requirement.removeprefix("Contain at least ").removesuffix(" long").replace("Between", "between", 1)


@lru_cache(maxsize=1)
def _validator() -> "Validator":
    """Imported at first use: the package starts browser components, which costs the web's start and warns there."""
    warnings = logging.getLogger("streamlit.runtime.scriptrunner_utils.script_run_context")
    level = warnings.level
    warnings.setLevel(logging.ERROR)
    try:
        from streamlit_authenticator.utilities import Validator
    finally:
        warnings.setLevel(level)
    return Validator()
