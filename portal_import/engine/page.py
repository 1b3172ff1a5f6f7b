"""A web page as the portal sent it: decoded, parsed, and read the way a person would see it."""

import codecs
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from functools import cached_property, lru_cache
from typing import Any

import lxml.etree
import lxml.html

from db.models import ResultCause, ResultStatus
from portal_import.engine.addresses import resolve
from portal_import.engine.errors import VisitError
from portal_import.engine.markup import check_is_whole, check_markup

Element = Any  # lxml.html.HtmlElement; lxml ships no types

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META_CHARSET = re.compile(rb"<meta[^>]{1,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{2,40})", re.IGNORECASE)
_META_SEARCH_BYTES = 4096
# The WHATWG encoding standard reads these labels as Windows-1252.
_READ_AS_WINDOWS_1252 = frozenset({"iso8859-1", "ascii", "latin_1", "cp1252"})
_NOT_FOR_PAGES = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "utf-7", "undefined"})
_UNSEEN_TAGS = frozenset({"script", "style", "template", "noscript", "head", "title"})
_BREAKING_TAGS = frozenset({"a", "br", "p", "div", "li", "ul", "td", "th", "tr", "button", "dd", "dt", "option", "h2"})
_HIDING_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_MAX_TEXT = 1_000_000
HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})


CONTROL_MARK = "data-punctual-control"  # the number of a live page's control


@dataclass(frozen=True)
class Page:
    """`url` is where redirects ended; `content_type` is bare and lower case; `encoding` is a codec's name.

    `challenges` are its WWW-Authenticate headers. A live page is open in a browser, which marks its controls.
    """

    url: str
    status: int
    content_type: str
    encoding: str
    text: str
    challenges: tuple[str, ...] = ()
    is_live: bool = False

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_html(self) -> bool:
        return self.content_type in HTML_TYPES or (not self.content_type and "<" in self.text[:200])

    @cached_property
    def root(self) -> Element:
        """The document's root; of an empty page an empty one. Raises VisitError for one too large to read."""
        parser = lxml.html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
        source = self.text.replace("\0", "").encode("utf-8", "replace") if self.is_html else b""
        check_markup(source)
        try:
            root = lxml.html.document_fromstring(source or b"<html></html>", parser=parser)
        except (lxml.etree.LxmlError, ValueError):
            root = lxml.html.document_fromstring(b"<html></html>")
        check_is_whole(parser)
        return root

    @cached_property
    def base_url(self) -> str:
        for base in self.root.iter("base"):
            if base.get("href"):
                return resolve(self.url, base.get("href")) or self.url
        return self.url

    @cached_property
    def controls_by_form(self) -> dict[Element | None, list[Element]]:
        """Each form's controls in document order, those elsewhere that name it by `form=` included.

        Under None are the controls that belong to no form.
        """
        forms: dict[str, Element] = {}
        for form in self.root.iter("form"):
            forms.setdefault(form.get("id") or "", form)
        controls: dict[Element | None, list[Element]] = {}
        for control in self.root.iter("input", "select", "textarea", "button"):
            named = control.get("form")
            owner = next(control.iterancestors("form"), None) if named is None else forms.get(named or " ")
            controls.setdefault(owner, []).append(control)
        return controls

    @cached_property
    def form_by_control(self) -> dict[Element, Element]:
        """The form that each control belongs to."""
        owned = ((form, controls) for form, controls in self.controls_by_form.items() if form is not None)
        return {control: form for form, controls in owned for control in controls}

    @cached_property
    def seen_text(self) -> str:
        """The words that a person sees on the page, in one line."""
        return text_of(self.root)


def decode_page(url: str, status: int, content_type_header: str, body: bytes) -> Page:
    """The page of an answer: its encoding by BOM, header or `<meta>`, else UTF-8 or Windows-1252."""
    content_type, declared = _read_content_type(content_type_header)
    encoding = _find_encoding(body, declared)
    text = body.decode(encoding, "replace").removeprefix("\ufeff")
    return Page(url, status, content_type, encoding, text)


@lru_cache(maxsize=64)
def _read_content_type(header: str) -> tuple[str, str | None]:
    """The type, and the encoding that is declared with it."""
    message = Message()
    message["Content-Type"] = header
    charset = message.get_param("charset")
    return message.get_content_type() if header.strip() else "", charset if isinstance(charset, str) else None


def _find_encoding(body: bytes, declared: str | None) -> str:
    for bom, name in _BOMS:
        if body.startswith(bom):
            return name
    meta = _META_CHARSET.search(body[:_META_SEARCH_BYTES])
    for label in (declared, meta[1].decode() if meta else None):
        name = _codec_name(label) if label is not None else None
        if name:
            return name
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        # As browsers do. Guessing by statistics took short French texts for Arabic ones.
        return "cp1252"
    return "utf-8"


@lru_cache(maxsize=64)
def _codec_name(label: str) -> str | None:
    """Python's name for the encoding; None for one that it lacks and for codecs that pages never mean."""
    try:
        name = codecs.lookup(label.strip("\"' ")).name
        bytes(range(256)).decode(name, "replace")
    except (LookupError, ValueError, TypeError, AssertionError):
        return None
    if name in _NOT_FOR_PAGES:
        return None
    return "cp1252" if name in _READ_AS_WINDOWS_1252 else name


def clean_text(text: str) -> str:
    """One line: blanks of any kind become single spaces, control and formatting characters go."""
    spaced = " ".join(text.split())
    if spaced.isprintable():
        return spaced
    return spaced.translate(
        {ord(char): None for char in set(spaced) if unicodedata.category(char) in ("Cc", "Cf", "Cs")}
    )


def text_of(element: Element) -> str:
    """The words seen in an element, with a blank wherever a browser would start something new.

    No more than a person could read: what comes after `_MAX_TEXT` characters is not looked at.
    """
    if not len(element):
        return clean_text((element.text or "")[:_MAX_TEXT])
    parts: list[str] = []
    left = _MAX_TEXT
    for part in _seen_parts(element):
        parts.append(part[:left])
        left -= len(parts[-1])
        if not left:
            break
    return clean_text("".join(parts))


def _seen_parts(element: Element) -> Iterator[str]:
    # Walks events, not recursion: a page may be nested deeper than Python's stack.
    hidden_in: Element = None
    for event, node in lxml.etree.iterwalk(element, events=("start", "end")):
        if event == "start":
            if hidden_in is None and node is not element and (node.tag in _UNSEEN_TAGS or hides_itself(node)):
                hidden_in = node
            if hidden_in is None:
                yield " " if node.tag in _BREAKING_TAGS else ""
                yield node.text or ""
            continue
        if node is hidden_in:
            hidden_in = None
        if hidden_in is None and node is not element:
            yield " " if node.tag in _BREAKING_TAGS else ""
            yield node.tail or ""


def hides_itself(element: Element) -> bool:
    """Whether the element is hidden by its own attributes; style sheets are not read."""
    return element.get("hidden") is not None or bool(_HIDING_STYLE.search(element.get("style") or ""))


def is_hidden(element: Element) -> bool:
    """Whether the element, or anything around it, is hidden by attributes."""
    return hides_itself(element) or any(
        hides_itself(outer) or outer.tag == "template" for outer in element.iterancestors()
    )


def select(page: Page, selector: str) -> list[Element]:
    """The elements that a portal's CSS selector picks. Raises VisitError when it is no valid selector."""
    try:
        return page.root.cssselect(selector)
    except (SyntaxError, RuntimeError, lxml.etree.XPathError) as error:
        message = f'the selector "{selector}" set for this portal is not valid CSS'
        cause = ResultCause.SELECTOR
        raise VisitError(message, ResultStatus.PORTAL_CHANGED, detail=str(error), cause=cause) from error
