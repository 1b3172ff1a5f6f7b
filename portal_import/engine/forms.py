"""Finds the sign-in form of a page and its two fields."""

import re
from dataclasses import dataclass
from itertools import islice

from db.models import ResultCause, ResultStatus
from portal_import.engine.addresses import show
from portal_import.engine.errors import VisitError
from portal_import.engine.page import Element, Page, is_hidden, select, text_of
from portal_import.engine.submission import is_disabled, type_of
from portal_import.outcomes import PortalProfile

_USERNAME_TYPES = frozenset({"text", "email", "tel", "number"})
USERNAME_HINT = re.compile(r"user|log_?in|e?-?mail|benutzer|anmelde|kennung|usuario|utilisateur|identifiant", re.I)
CUSTOMER_HINT = re.compile(r"account|customer|client|member|contract|kunden|konto|vertrag|cliente|cuenta|compte", re.I)
SIGN_IN_WORD = re.compile(
    r"sign.?in|log.?(in|on)|signin|session|auth|anmeld|einlogg|connexion|connecter|acceder|entrar|iniciar", re.I
)
REGISTER_WORD = re.compile(r"regist|sign.?up|create|forgot|reset|recover|passwort vergessen|newsletter", re.I)
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
    form, password = find_password(page, profile)
    if profile.username_selector:
        username = _pick(page, profile.username_selector, "username")
        if owner_of(page, username) is not form:
            words = "the username field that the selector finds is not in the form of the password field"
            raise _changed(words, ResultCause.SELECTOR)
    else:
        username = find_username(page, form, password)
        if username is None:
            raise _unclear_username(page, form)
    return SignInForm(page, form, username, password)


def find_password(page: Page, profile: PortalProfile) -> tuple[Element, Element]:
    """The form that asks for the password, and its field. Raises VisitError (`portal_changed`)."""
    if not profile.password_selector:
        form = _choose_form(page)
        return form, _passwords_in(page, form)[0]
    password = _pick(page, profile.password_selector, "password")
    form = owner_of(page, password)
    if form is None:
        raise _changed(f"the password field found at {show(page.url)} is in no form; {NEEDS_BROWSER}")
    return form, password


def has_sign_in_form(page: Page) -> bool:
    """Whether the page asks for a password; a form to change one has two or more fields and doesn't count."""
    owners = _password_owners(page)
    return any(owner is None or owners.count(owner) == 1 for owner in owners)


def has_password_change_form(page: Page) -> bool:
    """Whether the page has a form with two or more password fields."""
    owners = _password_owners(page)
    return any(owner is not None and owners.count(owner) > 1 for owner in owners)


def asks_for_password(page: Page, profile: PortalProfile) -> bool:
    """Whether the page has a field for a password, or what the portal's selector takes for one."""
    if profile.password_selector:
        return any(element.tag == "input" for element in select(page, profile.password_selector))
    return bool(_password_owners(page))


def asks_for_captcha(element: Element) -> bool:
    """Whether a CAPTCHA widget, or a field for its answer, is seen inside the element."""
    for inner in element.iter("div", "input", "iframe", "img"):
        names = " ".join(inner.get(key) or "" for key in ("name", "id", "class", "src"))
        if inner.tag == "input" and type_of(inner) == "hidden":
            continue
        if _CAPTCHA_HINT.search(names) and inner.get("data-size") != "invisible" and not is_hidden(inner):
            return True
    return False


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
    buttons = " ".join(label_of(control) for control in page.controls_by_form[form] if type_of(control) == "submit")
    hints = [(control.get("autocomplete") or "").lower() for control in _passwords_in(page, form)]
    texts = sum(1 for control in page.controls_by_form[form] if is_text_field(control))
    return (
        4 * bool(SIGN_IN_WORD.search(f"{names} {buttons}"))
        + 2 * (1 <= texts <= 2)
        - 4 * bool(REGISTER_WORD.search(f"{names} {buttons}"))
        + 4 * any("current-password" in hint for hint in hints)
        - 8 * any("new-password" in hint for hint in hints)
    )


def find_username(page: Page, form: Element, password: Element) -> Element | None:
    """The field of the form that takes the username; None where there is none, or several that may be it."""
    controls = page.controls_by_form[form]
    position = controls.index(password)
    # Nearest before the password first, so that a search box at the top never wins.
    texts = [control for control in controls[:position] if is_text_field(control)][::-1]
    texts += [control for control in controls[position:] if is_text_field(control)]
    tests = (
        lambda control: "username" in (control.get("autocomplete") or "").lower(),
        lambda control: "email" in (control.get("autocomplete") or "").lower(),
        lambda control: type_of(control) == "email",
        lambda control: USERNAME_HINT.search(names_of(control)),
        lambda control: CUSTOMER_HINT.search(names_of(control)),
    )
    for test in tests:
        for control in texts:
            if test(control):
                return control
    before = [control for control in controls[:position] if is_text_field(control)]
    return before[0] if len(before) == 1 else None


def _unclear_username(page: Page, form: Element) -> VisitError:
    texts = [control for control in page.controls_by_form[form] if is_text_field(control)]
    if not texts:
        return _changed("the sign-in form asks for a password only, with no field for the username")
    names = ", ".join(f'"{names_of(control)}"' for control in texts[:5])
    return _changed(f"which field of the sign-in form takes the username is unclear: {names}; set a selector")


def _pick(page: Page, selector: str, field: str) -> Element:
    found = [element for element in select(page, selector) if element.tag == "input"]
    if not found:
        words = f'the {field} selector "{selector}" finds no input field at {show(page.url)}'
        raise _changed(words, ResultCause.SELECTOR)
    return found[0]


def _password_owners(page: Page) -> list[Element | None]:
    """The form of each password field, None for a field in no form."""
    owners = (form for form, controls in page.controls_by_form.items() for _ in filter(_is_password, controls))
    return list(islice(owners, _MAX_PASSWORD_FIELDS))


def owner_of(page: Page, control: Element) -> Element | None:
    """The form that the field belongs to."""
    return next((form for form, controls in page.controls_by_form.items() if control in controls), None)


def _passwords_in(page: Page, form: Element) -> list[Element]:
    return [control for control in page.controls_by_form[form] if _is_password(control)]


def _is_password(control: Element) -> bool:
    return type_of(control) == "password" and not is_disabled(control) and not is_hidden(control)


def is_text_field(control: Element) -> bool:
    """Whether a person could type a username into it."""
    return (
        control.tag == "input"
        and type_of(control) in _USERNAME_TYPES
        and not is_disabled(control)
        and not is_hidden(control)
        and not _CAPTCHA_HINT.search(names_of(control))
    )


def names_of(control: Element) -> str:
    """What the page calls the field."""
    return " ".join(part for part in (control.get("name"), control.get("id")) if part)


def label_of(button: Element) -> str:
    """What a person reads on the button."""
    return f"{button.get('value') or button.get('alt') or ''} {text_of(button)}"


def _changed(message: str, cause: ResultCause = ResultCause.NO_FORM) -> VisitError:
    return VisitError(message, ResultStatus.PORTAL_CHANGED, cause=cause)
