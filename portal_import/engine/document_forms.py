"""Finds documents that a form fetches: a button in a bill's row, an `a` that posts. Presses nothing itself.

Only forms of the page's own site, without a password, whose words speak of a document.
"""

import re
from collections.abc import Iterator
from urllib.parse import urlencode

from portal_import.engine.addresses import origin, resolve
from portal_import.engine.page import Element, Page, is_hidden, text_of
from portal_import.engine.submission import (
    MULTIPART,
    URLENCODED,
    Submission,
    encode_form,
    encode_query,
    is_disabled,
    type_of,
)

_PRESSED = frozenset({"submit", "image"})
_POSTBACK = re.compile(r"""^javascript:\s*(?:return )?__doPostBack\(\s*'([^']*)'\s*,\s*'([^']*)'\s*\)\s*;?\s*$""", re.I)
_MAX_BUTTONS = 2_000


def find_buttons(element: Element) -> Iterator[Element]:
    """The buttons inside the element that send a form."""
    found = 0
    for control in element.iter("button", "input"):
        if type_of(control) in _PRESSED and not is_disabled(control) and not is_hidden(control):
            found += 1
            if found > _MAX_BUTTONS:
                return
            yield control


def label_of(button: Element) -> str:
    """The words on the button, and those that are read out for it."""
    shown = (button.get("value"), button.get("alt")) if button.tag == "input" else (text_of(button),)
    words = (*shown, button.get("title"), button.get("aria-label"))
    return " ".join(filter(None, words))[:300]


def press(page: Page, button: Element) -> Submission | str | None:
    """The form that the button sends, or the address if it is sent by GET; None if it is no form for a document."""
    form = page.form_by_control.get(button)
    if form is None or any(type_of(control) in ("password", "file") for control in page.controls_by_form[form]):
        return None
    target = _target(page, button.get("formaction") or form.get("action") or "")
    if target is None:
        return None
    method = (button.get("formmethod") or form.get("method") or "get").strip().lower()
    if method == "get":
        return encode_query(page, form, target, {}, button).url
    enctype = (button.get("formenctype") or form.get("enctype") or "").strip().lower()
    kind = MULTIPART if enctype == MULTIPART else URLENCODED
    return encode_form(page, form, target, {}, button, kind) if method == "post" else None


def method_of(anchor: Element) -> str:
    """The method by which the page's own scripts send the anchor."""
    return (anchor.get("data-method") or anchor.get("data-turbo-method") or "get").strip().lower()


def read_posting_anchor(page: Page, anchor: Element) -> Submission | None:
    """What an `a` posts: `data-method="post"` as Rails and Laravel write it, or an ASP.NET postback."""
    match = _POSTBACK.match((anchor.get("href") or "").strip())
    if match:
        return _post_back(page, anchor, *match.groups())
    if method_of(anchor) != "post":
        return None
    target = _target(page, anchor.get("href") or "")
    fields = {_meta(page, "csrf-param") or "_token": _meta(page, "csrf-token")}
    body = urlencode({name: value for name, value in fields.items() if value})
    return Submission(target, URLENCODED, body.encode()) if target else None


def _post_back(page: Page, anchor: Element, event_target: str, argument: str) -> Submission | None:
    form = next(anchor.iterancestors("form"), None)
    controls = page.controls_by_form.get(form, []) if form is not None else []
    named = {control.get("name"): control for control in controls}
    if form is None or "__EVENTTARGET" not in named or any(type_of(control) == "password" for control in controls):
        return None
    values = {named["__EVENTTARGET"]: event_target}
    if "__EVENTARGUMENT" in named:
        values[named["__EVENTARGUMENT"]] = argument
    target = _target(page, form.get("action") or "")
    return encode_form(page, form, target, values, None, URLENCODED) if target else None


def _target(page: Page, action: str) -> str | None:
    """The form's address, if it is one of the page's own site."""
    url = resolve(page.base_url, action) if action.strip() else resolve(page.url, "")
    return url if url and origin(url) == origin(page.url) else None


def _meta(page: Page, name: str) -> str:
    return next((meta.get("content") or "" for meta in page.root.iter("meta") if meta.get("name") == name), "")
