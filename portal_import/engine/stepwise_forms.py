"""Sign-in in two steps: a page that asks for the username only, and then one that asks for the password."""

import re
from dataclasses import dataclass

from portal_import.engine.forms import (
    CUSTOMER_HINT,
    REGISTER_WORD,
    SIGN_IN_WORD,
    USERNAME_HINT,
    find_password,
    find_username,
    is_text_field,
    label_of,
    names_of,
    owner_of,
)
from portal_import.engine.page import Element, Page, select
from portal_import.engine.submission import type_of
from portal_import.outcomes import PortalProfile

_GO_ON_WORD = re.compile(r"\b(next|continue|proceed|weiter|fortfahren|suivant|continuer|siguiente|continuar)\b", re.I)
_OTHER_PURPOSE = re.compile(r"search|suche|buscar|recherche|newsletter|subscri|abonn|contact|feedback|coupon", re.I)


@dataclass(frozen=True)
class UsernameForm:
    """The first step, as elements of `page`."""

    page: Page
    form: Element
    username: Element


@dataclass(frozen=True)
class PasswordForm:
    """The second step; it may ask for the username once more."""

    page: Page
    form: Element
    password: Element
    username: Element | None


def find_username_form(page: Page, profile: PortalProfile) -> UsernameForm | None:
    """The form that asks for the username and for no password; None where there is no such form.

    It has to speak of signing in, or its field of user names: a username is not for newsletters.
    """
    if profile.username_selector:
        picked = [element for element in select(page, profile.username_selector) if element.tag == "input"]
        form = owner_of(page, picked[0]) if picked else None
        return UsernameForm(page, form, picked[0]) if form is not None and not _has_password(page, form) else None
    for form in page.controls_by_form:
        if form is None or _has_password(page, form):
            continue
        username = _find_field(page, form)
        if username is not None:
            return UsernameForm(page, form, username)
    return None


def find_password_form(page: Page, profile: PortalProfile) -> PasswordForm:
    """The second step. Raises VisitError (`portal_changed`) that says what was found instead."""
    form, password = find_password(page, profile)
    controls = page.controls_by_form[form]
    if profile.username_selector:
        picked = [element for element in select(page, profile.username_selector) if element in controls]
        return PasswordForm(page, form, password, next(iter(picked), None))
    return PasswordForm(page, form, password, find_username(page, form, password))


def _has_password(page: Page, form: Element) -> bool:
    """Also by a hidden field: sent with a username alone, it would be a wrong password."""
    return any(type_of(control) == "password" for control in page.controls_by_form[form])


def _find_field(page: Page, form: Element) -> Element | None:
    controls = page.controls_by_form[form]
    texts = [control for control in controls if is_text_field(control)]
    buttons = " ".join(label_of(control) for control in controls if type_of(control) == "submit")
    names = " ".join(form.get(key) or "" for key in ("action", "id", "name", "class", "role", "aria-label"))
    about = f"{names} {buttons}"
    if not texts or len(texts) > 2 or REGISTER_WORD.search(about) or _OTHER_PURPOSE.search(about):
        return None
    for control in texts:
        if "username" in (control.get("autocomplete") or "").lower():
            return control
    speaks_of_it = SIGN_IN_WORD.search(about) or (SIGN_IN_WORD.search(_title(page)) and _GO_ON_WORD.search(buttons))
    if not speaks_of_it:
        return None
    hinted = [c for c in texts if USERNAME_HINT.search(names_of(c)) or type_of(c) == "email"]
    hinted += [c for c in texts if CUSTOMER_HINT.search(names_of(c))]
    return next(iter(hinted or (texts if len(texts) == 1 else [])), None)


def _title(page: Page) -> str:
    headings = [*page.root.iter("title"), *page.root.iter("h1")]
    return " ".join("".join(heading.itertext()) for heading in headings[:3])
