"""Fills in a form that was found on a page; refuses one that would expose what is filled in."""

from urllib.parse import urlsplit

from db.models import ResultCause, ResultStatus
from portal_import.engine.addresses import origin, resolve, show
from portal_import.engine.errors import VisitError
from portal_import.engine.forms import NEEDS_BROWSER, SIGN_IN_WORD, SignInForm, label_of
from portal_import.engine.page import Element, Page, select
from portal_import.engine.submission import (
    MULTIPART,
    URLENCODED,
    Submission,
    encode_form,
    encode_query,
    is_disabled,
    type_of,
)
from portal_import.outcomes import AccountLogin


def fill_sign_in_form(found: SignInForm, login: AccountLogin, submit_selector: str | None = None) -> Submission:
    """The submission that signs `login` in. As `fill_form`."""
    values = {found.username: login.username, found.password: login.password}
    return fill_form(found.page, found.form, values, find_submit(found.page, found.form, submit_selector))


def find_submit(page: Page, form: Element, selector: str | None) -> Element | None:
    """The button to press: the selector's, else the first that speaks of signing in, else the first.

    Raises VisitError (`portal_changed`) when the selector finds no button of the form.
    """
    if selector is not None:
        found = _pick_submits(page, form, selector)
        if not found:
            words = f'the submit selector "{selector}" finds no button of the sign-in form at {show(page.url)}'
            raise VisitError(words, ResultStatus.PORTAL_CHANGED, cause=ResultCause.SELECTOR)
        return found[0]
    buttons = _list_submits(page, form)
    named = [button for button in buttons if SIGN_IN_WORD.search(label_of(button))]
    return next(iter([*named, *buttons]), None)


def picks_submit(page: Page, form: Element, selector: str | None) -> bool:
    """Whether the selector finds a button of this form."""
    return selector is not None and bool(_pick_submits(page, form, selector))


def fill_form(page: Page, form: Element, values: dict[Element, str], submit: Element | None) -> Submission:
    """The form's submission with the values typed into its fields.

    Raises VisitError (`portal_changed`) rather than send them unencrypted from an encrypted page, to another origin
    than the page's, or where only a script knows how.
    """
    action = _attribute(form, submit, "action").strip()
    method = _attribute(form, submit, "method").strip().lower()
    target = resolve(page.base_url, action) if action else resolve(page.url, "")
    # Without a word about how and where to, it would go by GET to its own page: a script's form, not a portal's.
    if target is None or method == "dialog" or (not action and not method):
        words = f"the sign-in form is sent by a script; {NEEDS_BROWSER}"
        raise VisitError(words, ResultStatus.PORTAL_CHANGED, cause=ResultCause.NO_FORM)
    if origin(target) != origin(page.url):
        words = (
            f"the sign-in form would send the password to another site ({_site(target)}) than the page's own"
            f" ({_site(page.url)}), so it was not sent"
        )
        raise VisitError(words, ResultStatus.PORTAL_CHANGED, cause=ResultCause.UNSAFE_FORM)
    if method != "post":
        return encode_query(page, form, target, values, submit)
    enctype = _attribute(form, submit, "enctype").strip().lower()
    return encode_form(page, form, target, values, submit, MULTIPART if enctype == MULTIPART else URLENCODED)


def _list_submits(page: Page, form: Element) -> list[Element]:
    controls = page.controls_by_form[form]
    return [c for c in controls if type_of(c) in ("submit", "image") and not is_disabled(c)]


def _pick_submits(page: Page, form: Element, selector: str) -> list[Element]:
    buttons = _list_submits(page, form)
    return [element for element in select(page, selector) if element in buttons]


def _attribute(form: Element, submit: Element | None, name: str) -> str:
    """The form's attribute, or what the pressed button says instead (`formaction` and its kin)."""
    override = submit.get(f"form{name}") if submit is not None else None
    return override if override is not None else (form.get(name) or "")


def _site(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
