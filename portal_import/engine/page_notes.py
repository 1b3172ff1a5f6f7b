"""Describes a page in lines for people who test a sign-in: what it is, where it is, and the forms that it holds.

Names of fields only, never what they hold; addresses without their queries.
"""

from collections.abc import Iterator
from itertools import islice

from portal_import.engine.addresses import resolve, show
from portal_import.engine.errors import describe_status
from portal_import.engine.forms import label_of
from portal_import.engine.page import Element, Page, clean_text
from portal_import.engine.submission import type_of

MAX_FORMS = 5
MAX_FIELDS = 20
_MAX_NAME = 60
_MAX_TITLE = 100
_PRESSED = frozenset({"button", "reset"})


def note_page(name: str, page: Page) -> Iterator[str]:
    """Lines such as `sign-in page: “Welcome”, 200 OK, at https://…`, and one for each form."""
    title = next(page.root.iter("title"), None)
    words = clean_text("".join(title.itertext()))[:_MAX_TITLE] if title is not None else ""
    titled = f"“{words}”" if words else "a page without a title"
    yield f"{name}: {titled}, {describe_status(page.status)}, at {show(page.url)}"
    forms = [(form, controls) for form, controls in page.controls_by_form.items() if form is not None]
    for form, controls in islice(forms, MAX_FORMS):
        target = resolve(page.base_url, form.get("action") or "") if (form.get("action") or "").strip() else page.url
        method = (form.get("method") or "get").strip().upper()
        yield f"  form sent by {method} to {show(target) if target else 'a script'}: {_list_fields(controls)}"
    loose = page.controls_by_form.get(None)
    if loose:
        yield f"  outside of any form: {_list_fields(loose)}"
    if len(forms) > MAX_FORMS:
        yield f"  and {len(forms) - MAX_FORMS:,} more forms"
    if not forms and not loose:
        yield "  no form on it"


def _list_fields(controls: list[Element]) -> str:
    fields = [control for control in controls if type_of(control) not in _PRESSED]
    named = [_describe(control) for control in fields[:MAX_FIELDS]]
    more = f", and {len(fields) - MAX_FIELDS:,} more" if len(fields) > MAX_FIELDS else ""
    return ", ".join(named) + more if named else "no fields"


def _describe(control: Element) -> str:
    kind = type_of(control)
    if kind in ("submit", "image"):
        return f"button “{clean_text(label_of(control))[:_MAX_NAME]}”"
    return f"{_name(control)} ({kind})"


def _name(control: Element) -> str:
    return clean_text(control.get("name") or control.get("id") or "")[:_MAX_NAME] or "unnamed"
