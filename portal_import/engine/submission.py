"""What a browser would send for a form: its controls in document order, encoded as the form asks.

After the HTML standard's "constructing the entry list" and its three encodings, without scripts.
"""

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlencode

from portal_import.engine.page import Element, Page

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"


@dataclass(frozen=True)
class Submission:
    """A form ready to be sent: by GET where it has no body, and then its address holds what was filled in."""

    url: str = field(repr=False)
    content_type: str = ""
    body: bytes | None = field(default=None, repr=False)

    @property
    def method(self) -> str:
        return "GET" if self.body is None else "POST"


@dataclass(frozen=True)
class _Entry:
    name: str
    value: str
    is_file: bool = False


def type_of(control: Element) -> str:
    """The control's type in lower case: an input without one is `text`, a button `submit`."""
    kind = (control.get("type") or "").strip().lower()
    if control.tag == "button":
        return kind if kind in ("button", "reset") else "submit"
    return (kind or "text") if control.tag == "input" else str(control.tag)


def is_disabled(control: Element) -> bool:
    """Whether the control, or a fieldset around it, is disabled; such a control is not sent."""
    if control.get("disabled") is not None:
        return True
    inside = control
    for outer in control.iterancestors():
        if outer.tag == "fieldset" and outer.get("disabled") is not None:
            legend = next(outer.iterchildren("legend"), None)
            if legend is None or inside is not legend:
                return True
        inside = outer
    return False


def encode_form(
    page: Page, form: Element, url: str, values: dict[Element, str], submit: Element | None, enctype: str
) -> Submission:
    """The form's submission to `url`, `values` typed into their controls and `submit` pressed."""
    entries = _list_entries(page, form, values, submit)
    encoding = _encoding_of(page, form)
    if enctype == MULTIPART:
        boundary = f"----PunctualForm{secrets.token_hex(12)}"
        body = b"".join(_multipart_part(entry, boundary, encoding) for entry in entries)
        whole = body + f"--{boundary}--\r\n".encode()
        return Submission(url, f"{MULTIPART}; boundary={boundary}", whole)
    return Submission(url, URLENCODED, _encode_pairs(entries, encoding).encode())


def encode_query(page: Page, form: Element, url: str, values: dict[Element, str], submit: Element | None) -> Submission:
    """The same for a form that is sent by GET: its entries take the place of the address's query."""
    entries = _list_entries(page, form, values, submit)
    return Submission(f"{url.partition('?')[0]}?{_encode_pairs(entries, _encoding_of(page, form))}")


def _list_entries(page: Page, form: Element, values: dict[Element, str], submit: Element | None) -> list[_Entry]:
    return [entry for control in page.controls_by_form.get(form, []) for entry in _entries(control, values, submit)]


def _encode_pairs(entries: list[_Entry], encoding: str) -> str:
    pairs = [(entry.name, _LINE_BREAK.sub("\r\n", entry.value)) for entry in entries]
    return urlencode(pairs, encoding=encoding, errors="xmlcharrefreplace")


def _entries(control: Element, values: dict[Element, str], submit: Element | None) -> Iterator[_Entry]:
    name, kind = control.get("name") or "", type_of(control)
    if is_disabled(control) or next(control.iterancestors("template", "datalist"), None) is not None:
        return
    if control in values:
        if name:
            yield _Entry(name, values[control])
    elif kind == "image":
        if control is submit:
            prefix = f"{name}." if name else ""
            yield _Entry(f"{prefix}x", "0")
            yield _Entry(f"{prefix}y", "0")
    elif not name or (kind in ("submit", "button", "reset") and control is not submit):
        return
    elif kind in ("checkbox", "radio"):
        if control.get("checked") is not None:
            yield _Entry(name, control.get("value", "on"))
    elif kind == "select":
        for option in _selected_options(control):
            text = " ".join("".join(option.itertext()).split())
            yield _Entry(name, option.get("value", text))
    elif kind == "textarea":
        yield _Entry(name, "".join(control.itertext()))
    else:
        yield _Entry(name, "" if kind == "file" else control.get("value", ""), kind == "file")


def _selected_options(select: Element) -> list[Element]:
    options = [option for option in select.iter("option") if option.get("disabled") is None]
    chosen = [option for option in options if option.get("selected") is not None]
    if select.get("multiple") is not None:
        return chosen
    return chosen[-1:] or options[:1]


def _encoding_of(page: Page, form: Element) -> str:
    for label in (form.get("accept-charset") or "").replace(",", " ").split():
        if label.lower() in ("utf-8", "utf8"):
            return "utf-8"
    # A page in UTF-16 still submits UTF-8.
    return "utf-8" if page.encoding.startswith("utf") else page.encoding


def _multipart_part(entry: _Entry, boundary: str, encoding: str) -> bytes:
    def quoted(name: str) -> str:
        return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")

    file_part = '; filename=""\r\nContent-Type: application/octet-stream' if entry.is_file else ""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{quoted(entry.name)}"{file_part}\r\n\r\n'
    value = _LINE_BREAK.sub("\r\n", entry.value)
    return f"{head}{value}\r\n".encode(encoding, "xmlcharrefreplace")
