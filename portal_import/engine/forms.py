"""Finds the sign-in form of a page and fills it in; refuses a form that would expose the password."""

import re
from dataclasses import dataclass
from itertools import islice
from urllib.parse import urlsplit

from db.models import ResultStatus
from portal_import.engine.addresses import origin, resolve, show
from portal_import.engine.errors import VisitError
from portal_import.engine.page import Element, Page, is_hidden, select, text_of
from portal_import.engine.submission import (
    MULTIPART,
    URLENCODED,
    Submission,
    encode_form,
    is_disabled,
    type_of,
)
from portal_import.outcomes import AccountLogin, PortalProfile

_USERNAME_TYPES = frozenset({"text", "email", "tel", "number"})
_USERNAME_HINT = re.compile(r"user|log_?in|e?-?mail|benutzer|anmelde|kennung|usuario|utilisateur|identifiant", re.I)
_CUSTOMER_HINT = re.compile(r"account|customer|client|member|contract|kunden|konto|vertrag|cliente|cuenta|compte", re.I)
_SIGN_IN_WORD = re.compile(
    r"sign.?in|log.?(in|on)|signin|session|auth|anmeld|einlogg|connexion|connecter|acceder|entrar|iniciar", re.I
)
_REGISTER_WORD = re.compile(r"regist|sign.?up|create|forgot|reset|recover|passwort vergessen|newsletter", re.I)
_CAPTCHA_HINT = re.compile(r"captcha|cf-turnstile|arkose", re.I)
_MAX_PASSWORD_FIELDS = 50
NEEDS_BROWSER = "this portal may need the browser engine"


@dataclass(frozen=True)
class SignInForm:
    """The form and its two fields, as elements of `page`."""

    page: Page
    form: Element
    username: Element
    password: Element


def find_sign_in_form(page: Page, profile: PortalProfile) -> SignInForm:
    """The form that signs in, its fields found by the profile's selectors or by themselves.

    Raises VisitError (`portal_changed`) that says what was found instead.
    """
    if profile.password_selector:
        password = _pick(page, profile.password_selector, "password")
        form = _owner_of(page, password)
        if form is None:
            raise _changed(f"the password field found at {show(page.url)} is in no form; {NEEDS_BROWSER}")
    else:
        form = _choose_form(page)
        password = _passwords_in(page, form)[0]
    if profile.username_selector:
        username = _pick(page, profile.username_selector, "username")
        if _owner_of(page, username) is not form:
            raise _changed("the username field that the selector finds is not in the form of the password field")
    else:
        username = _find_username(page, form, password)
    return SignInForm(page, form, username, password)


def has_sign_in_form(page: Page) -> bool:
    """Whether the page asks for a password; a form to change one has two or more fields and doesn't count."""
    owners = _password_owners(page)
    return any(owner is None or owners.count(owner) == 1 for owner in owners)


def has_password_change_form(page: Page) -> bool:
    """Whether the page has a form with two or more password fields."""
    owners = _password_owners(page)
    return any(owner is not None and owners.count(owner) > 1 for owner in owners)


def asks_for_captcha(element: Element) -> bool:
    """Whether a CAPTCHA widget, or a field for its answer, is seen inside the element."""
    for inner in element.iter("div", "input", "iframe", "img"):
        names = " ".join(inner.get(key) or "" for key in ("name", "id", "class", "src"))
        if inner.tag == "input" and type_of(inner) == "hidden":
            continue
        if _CAPTCHA_HINT.search(names) and inner.get("data-size") != "invisible" and not is_hidden(inner):
            return True
    return False


def fill_sign_in_form(found: SignInForm, login: AccountLogin) -> Submission:
    """The submission that signs `login` in.

    Raises VisitError (`portal_changed`) rather than send a password by GET, unencrypted from an
    encrypted page, or to another origin than the page's.
    """
    submit = _choose_submit(found)
    method = _attribute(found.form, submit, "method").strip().lower() or "get"
    if method != "post":
        raise _changed("the sign-in form is sent by GET, which would put the password into an address; it was not sent")
    action = _attribute(found.form, submit, "action")
    target = resolve(found.page.base_url, action) if action.strip() else resolve(found.page.url, "")
    if target is None:
        raise _changed(f"the sign-in form is sent by a script; {NEEDS_BROWSER}")
    if origin(target) != origin(found.page.url):
        raise _changed(
            f"the sign-in form would send the password to another site ({_site(target)}) than the page's own"
            f" ({_site(found.page.url)}), so it was not sent"
        )
    enctype = _attribute(found.form, submit, "enctype").strip().lower()
    values = {found.username: login.username, found.password: login.password}
    return encode_form(
        found.page, found.form, target, values, submit, MULTIPART if enctype == MULTIPART else URLENCODED
    )


def _choose_form(page: Page) -> Element:
    owners = _password_owners(page)
    forms = [owner for owner in owners if owner is not None and owners.count(owner) == 1]
    if forms:
        return max(forms, key=lambda form: _sign_in_score(page, form))
    where = f"no sign-in form found at {show(page.url)}"
    if not owners:
        raise _changed(f"{where}; {NEEDS_BROWSER}")
    if all(owner is None for owner in owners):
        raise _changed(f"{where}: its password field is in no form; {NEEDS_BROWSER}")
    raise _changed(f"{where}: its forms have two or more password fields each, as for registering")


def _sign_in_score(page: Page, form: Element) -> int:
    """How much a form with one password field looks like signing in; among equals the first one wins."""
    names = " ".join(form.get(key) or "" for key in ("action", "id", "name", "class"))
    buttons = " ".join(_label(control) for control in page.controls_by_form[form] if type_of(control) == "submit")
    new_password = any("new-password" in (control.get("autocomplete") or "") for control in _passwords_in(page, form))
    texts = sum(1 for control in page.controls_by_form[form] if _is_text(control))
    return (
        4 * bool(_SIGN_IN_WORD.search(f"{names} {buttons}"))
        + 2 * (1 <= texts <= 2)
        - 4 * bool(_REGISTER_WORD.search(f"{names} {buttons}"))
        - 8 * new_password
    )


def _find_username(page: Page, form: Element, password: Element) -> Element:
    controls = page.controls_by_form[form]
    position = controls.index(password)
    texts = [control for control in controls[:position] if _is_text(control)][::-1]
    texts += [control for control in controls[position:] if _is_text(control)]
    if not texts:
        raise _changed("the sign-in form asks for a password only, with no field for the username")
    # Nearest before the password first, so that a search box at the top never wins.
    tests = (
        lambda control: "username" in (control.get("autocomplete") or "").lower(),
        lambda control: "email" in (control.get("autocomplete") or "").lower(),
        lambda control: type_of(control) == "email",
        lambda control: _USERNAME_HINT.search(_names(control)),
        lambda control: _CUSTOMER_HINT.search(_names(control)),
    )
    for test in tests:
        for control in texts:
            if test(control):
                return control
    before = [control for control in controls[:position] if _is_text(control)]
    if len(before) == 1:
        return before[0]
    names = ", ".join(f'"{_names(control)}"' for control in texts[:5])
    raise _changed(f"which field of the sign-in form takes the username is unclear: {names}; set a selector")


def _choose_submit(found: SignInForm) -> Element | None:
    """The button that a person would press: the first that speaks of signing in, else the first."""
    buttons = [
        control
        for control in found.page.controls_by_form[found.form]
        if type_of(control) in ("submit", "image") and not is_disabled(control)
    ]
    named = [button for button in buttons if _SIGN_IN_WORD.search(_label(button))]
    return next(iter([*named, *buttons]), None)


def _attribute(form: Element, submit: Element | None, name: str) -> str:
    """The form's attribute, or what the pressed button says instead (`formaction` and its kin)."""
    override = submit.get(f"form{name}") if submit is not None else None
    return override if override is not None else (form.get(name) or "")


def _pick(page: Page, selector: str, field: str) -> Element:
    found = [element for element in select(page, selector) if element.tag == "input"]
    if not found:
        raise _changed(f'the {field} selector "{selector}" finds no input field at {show(page.url)}')
    return found[0]


def _password_owners(page: Page) -> list[Element | None]:
    """The form of each password field, None for a field in no form."""
    owners = (form for form, controls in page.controls_by_form.items() for _ in filter(_is_password, controls))
    return list(islice(owners, _MAX_PASSWORD_FIELDS))


def _owner_of(page: Page, control: Element) -> Element | None:
    return next((form for form, controls in page.controls_by_form.items() if control in controls), None)


def _passwords_in(page: Page, form: Element) -> list[Element]:
    return [control for control in page.controls_by_form[form] if _is_password(control)]


def _is_password(control: Element) -> bool:
    return type_of(control) == "password" and not is_disabled(control) and not is_hidden(control)


def _is_text(control: Element) -> bool:
    return (
        control.tag == "input"
        and type_of(control) in _USERNAME_TYPES
        and not is_disabled(control)
        and not is_hidden(control)
        and not _CAPTCHA_HINT.search(_names(control))
    )


def _names(control: Element) -> str:
    return " ".join(part for part in (control.get("name"), control.get("id")) if part)


def _label(button: Element) -> str:
    return f"{button.get('value') or button.get('alt') or ''} {text_of(button)}"


def _site(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _changed(message: str) -> VisitError:
    return VisitError(message, ResultStatus.PORTAL_CHANGED)
