"""Reads what a portal says when it doesn't let an account in.

Success is never decided here, only why there is none: words on pages explain, they don't prove.
"""

import re
from collections.abc import Iterator
from typing import NoReturn

from db.models import ResultCause, ResultStatus
from portal_import.engine.addresses import show
from portal_import.engine.errors import VisitError, cause_of_status, describe_status
from portal_import.engine.forms import asks_for_captcha, has_password_change_form, has_sign_in_form
from portal_import.engine.page import Element, Page, is_hidden, text_of
from portal_import.engine.secrecy import Redactor
from portal_import.engine.sign_in_words import (
    CAPTCHA,
    EXPIRED_PASSWORD,
    LOCKED,
    MULTI_FACTOR,
    NEW_TERMS,
    REFUSED,
    STALE_FORM,
    UNAVAILABLE,
)
from portal_import.engine.submission import type_of

MAX_ERROR_TEXT = 200
_MAX_ALERTS = 20
_MAX_PAGE_WORDS = 5_000

_ALERT_TAGS = ("div", "p", "span", "li", "ul", "strong", "section", "td", "label", "small", "output")
_ALERT_CLASS = re.compile(
    r"(^|[\s_-])(error(s|note|list|box|text|msg|message)?|alert|danger|invalid|warning|fehler|erreur|hata|validation|flash|notice|failure)"
    r"([\s_-]|$)",
    re.IGNORECASE,
)
_CODE_FIELD = re.compile(r"otp|mfa|2fa|two.?factor|one.?time|(verif|secur|auth)\w{0,30}.?code|sms.?code|\btan\b", re.I)


_ATTENTION = (
    (LOCKED, ResultCause.LOCKED),
    (EXPIRED_PASSWORD, ResultCause.EXPIRED_PASSWORD),
    (MULTI_FACTOR, ResultCause.ONE_TIME_CODE),
    (CAPTCHA, ResultCause.CAPTCHA),
    (NEW_TERMS, ResultCause.NEW_TERMS),
)
_OBSTACLE_WORDS = {
    ResultCause.LOCKED: "the portal says that the account is locked",
    ResultCause.EXPIRED_PASSWORD: "the portal wants the password to be changed",
    ResultCause.ONE_TIME_CODE: "the portal asks for a one-time code (multi-factor sign-in)",
    ResultCause.CAPTCHA: "the portal asks to solve a CAPTCHA",
    ResultCause.NEW_TERMS: "the portal wants new terms to be accepted",
}


def find_error_text(page: Page) -> str | None:
    """What the page's alerts say, the most certain one first; None when it has none."""
    return next(_alert_texts(page), None)


def quote_error_text(page: Page, redact: Redactor) -> str:
    """`: “…”` for the end of a message, trimmed and without the password; empty when the page says nothing."""
    # Redacted before it is cut: half a password is still a secret.
    text = redact(find_error_text(page) or "")
    if len(text) > MAX_ERROR_TEXT:
        text = text[: MAX_ERROR_TEXT - 1].rstrip() + "…"
    return f": “{text}”" if text else ""


def require_no_obstacle(page: Page, quoted: str = "", *, detail: str | None = None) -> None:
    """Raise VisitError if a person has to do something before this account can be let in; `quoted` ends its message."""
    obstacle = find_obstacle(page)
    if obstacle is not None:
        words = f"{_OBSTACLE_WORDS[obstacle]}{quoted}"
        raise VisitError(words, ResultStatus.NEEDS_ATTENTION, detail=detail, cause=obstacle)


def find_obstacle(page: Page) -> ResultCause | None:
    """What a person has to do before this account can be let in, or None.

    A page that shows a sign-in form is read by its alerts only: its other words are about signing in
    in general ("account locked? call us").
    """
    if page.status in (404, 410):
        return None
    for control in page.root.iter("input"):
        if type_of(control) in ("text", "tel", "number", "password") and not is_hidden(control):
            names = " ".join(control.get(key) or "" for key in ("name", "id"))
            if "one-time-code" in (control.get("autocomplete") or "") or _CODE_FIELD.search(names):
                return ResultCause.ONE_TIME_CODE
    text = " ".join(_alert_texts(page))
    shows_sign_in = has_sign_in_form(page)
    if not shows_sign_in:
        text += " " + page.seen_text[:_MAX_PAGE_WORDS]
    for pattern, obstacle in _ATTENTION:
        if pattern.search(text):
            return obstacle
    if not shows_sign_in and has_password_change_form(page):
        return ResultCause.EXPIRED_PASSWORD
    return ResultCause.CAPTCHA if asks_for_captcha(page.root) else None


def explain_refusal(answer: Page | None, billing: Page, redact: Redactor) -> NoReturn:
    """Raise the VisitError that says why an account that has sent its sign-in form is not let in to the billing page.

    `answer` is what the form brought, None when that page could not be read.
    """
    pages = [page for page in (answer, billing) if page is not None]
    speaking = next((page for page in pages if find_error_text(page)), pages[0])
    quoted = quote_error_text(speaking, redact)
    said = " ".join(_alert_texts(speaking))
    if answer is not None and not has_sign_in_form(answer):
        said += " " + answer.seen_text[:_MAX_PAGE_WORDS]
    locked = LOCKED.search(said) is not None
    if REFUSED.search(said) and not locked:
        raise VisitError(f"the portal refused the username or the password{quoted}", ResultStatus.WRONG_CREDENTIALS)
    for page in pages:
        require_no_obstacle(page, quote_error_text(page, redact))
    _require_no_excuse(said, quoted)
    if answer is not None and has_sign_in_form(answer):
        raise VisitError(
            f"the portal showed its sign-in form again, so the username or the password is wrong{quoted}",
            ResultStatus.WRONG_CREDENTIALS,
        )
    if answer is not None and answer.status == 401:
        raise VisitError(f"the portal refused the username or the password{quoted}", ResultStatus.WRONG_CREDENTIALS)
    if answer is not None and not answer.is_ok:
        words = f"the portal answered {describe_status(answer.status)} to the sign-in{quoted}"
        raise VisitError(words, cause=cause_of_status(answer.status))
    raise VisitError(
        f"the sign-in seemed to work, but the billing page asks to sign in again{quoted}",
        ResultStatus.PORTAL_CHANGED,
        cause=ResultCause.NOT_LET_IN,
    )


def explain_username_refusal(page: Page, redact: Redactor) -> NoReturn:
    """Raise the VisitError that says why the page after the username asks for no password."""
    quoted = quote_error_text(page, redact)
    said = f"{' '.join(_alert_texts(page))} {page.seen_text[:_MAX_PAGE_WORDS]}"
    if REFUSED.search(said) and LOCKED.search(said) is None:
        raise VisitError(f"the portal refused the username{quoted}", ResultStatus.WRONG_CREDENTIALS)
    require_no_obstacle(page, quoted)
    _require_no_excuse(said, quoted)
    words = f"after the username, no password was asked for at {show(page.url)}{quoted}"
    raise VisitError(words, ResultStatus.PORTAL_CHANGED, cause=ResultCause.NO_FORM)


def _require_no_excuse(said: str, quoted: str) -> None:
    """Raise VisitError (`portal_error`) if the portal says that it is its own fault."""
    if STALE_FORM.search(said):
        raise VisitError(f"the portal did not accept its own sign-in form{quoted}")
    if UNAVAILABLE.search(said):
        raise VisitError(f"the portal could not sign the account in{quoted}")


def _alert_texts(page: Page) -> Iterator[str]:
    """Texts of elements that look like error messages: those with the role first, then those by class."""
    marked: list[Element] = []
    by_class: list[Element] = []
    for element in page.root.iter(*_ALERT_TAGS):
        if element.get("role") in ("alert", "alertdialog"):
            marked.append(element)
        elif _ALERT_CLASS.search(f"{element.get('class') or ''} {element.get('id') or ''}"):
            by_class.append(element)
    for element in [*marked[:_MAX_ALERTS], *by_class[:_MAX_ALERTS]]:
        text = "" if is_hidden(element) else text_of(element)
        # An "alert" that holds half the page is a layout, not a message.
        if any(char.isalpha() for char in text) and len(text) < _MAX_PAGE_WORDS:
            yield text
