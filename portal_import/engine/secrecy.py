"""Keeps an account's password out of everything that is said about its visit."""

from html import escape
from urllib.parse import quote, quote_plus

HIDDEN = "•••"


class Redactor:
    """Replaces a password in texts, in the forms in which a portal may echo it."""

    def __init__(self, password: str) -> None:
        forms = {password, " ".join(password.split()), escape(password), quote(password, safe=""), quote_plus(password)}
        forms |= {repr(password)[1:-1], ascii(password)[1:-1]}
        # Longest first: one form may be part of another.
        self._forms = sorted((form for form in forms if form.strip()), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        return text

    def __repr__(self) -> str:
        return "Redactor()"
