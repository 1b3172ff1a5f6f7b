"""Tells which links of a billing page lead to documents."""

import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from portal_import.engine.addresses import is_same_page, resolve
from portal_import.engine.document_forms import find_buttons, label_of, method_of, press, read_posting_anchor
from portal_import.engine.errors import VisitError
from portal_import.engine.page import CONTROL_MARK, Element, Page, select, text_of
from portal_import.engine.submission import Submission

DOCUMENT_EXTENSIONS = frozenset({"pdf", "csv", "xlsx", "xls", "xml", "ods", "zip", "tif", "tiff", "p7m", "edi"})
MAX_LINKS = 20_000
_DOCUMENT_TYPES = re.compile(r"application/(pdf|zip|xml|vnd\.)|text/(csv|xml)", re.I)
_EXTENSION = re.compile(r"\.([a-z0-9]{2,4})$", re.I)
_QUERY_FORMAT = re.compile(r"(?:^|[&;])(?:format|type|output|ext|as)=(?:application/)?([a-z]{3,4})(?:&|;|$)", re.I)
_DOWNLOAD_WORD = re.compile(
    r"\b(pdf|csv|xlsx|excel|download|herunterladen|télécharger|telecharger|descargar|scarica)\b", re.I
)
_BILL_WORD = re.compile(
    r"\b(invoice|bill|statement|credit.?note|receipt|\w*rechnung|beleg|gutschrift|facture|relevé|factura|recibo)s?\b",
    re.I,
)
# Pages of actions and advice, and the small print that portals offer as PDF.
_OTHER_WORD = re.compile(
    r"\b(pay|payment|bezahlen|payer|pagar|delete|cancel|log.?out|sign.?out|abmelden|help|hilfe|faq|settings|contact"
    r"|terms|conditions|agb|privacy|datenschutz\w*|impressum|imprint|legal|cookies?|policy|tariffs?|preisblatt"
    r"|price.?list|brochure|guide|handbook|manual|understand\w*|how|sepa|mandate|form|app)\b",
    re.I,
)
_SURROUNDINGS = frozenset({"nav", "header", "footer", "aside"})


@dataclass(frozen=True)
class DocumentLink:
    """`is_certain` is False where only words hint at a document: such a link may lead to a page of details.

    With a `form` the document is the answer to that form, sent to `url`; with a `control` it is what a script makes
    when that control of a live page is pressed.
    """

    url: str
    is_certain: bool
    name_hint: str | None = None
    form: Submission | None = None
    control: int | None = None

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from the page's other documents."""
        return self.url, hash(self.form.body) if self.form else self.control or 0


def find_links(
    page: Page,
    element: Element,
    link_selector: str | None,
    *,
    in_bill_row: bool,
    without: Container[Element] = frozenset(),
) -> list[tuple[Element, DocumentLink]]:
    """The document links inside an element, in order, the anchors or buttons they stand in beside them.

    With a selector exactly what it picks; without one, links are judged by address, type and words, and
    more generously inside a row of the bills table. Those `without` are not looked at.
    """
    if link_selector:
        picked = (one for one in _picked(page, link_selector, element) if one not in without)
        found = [(one, _read_picked(page, one)) for one in picked]
    else:
        anchors = (anchor for anchor in _anchors_in(element) if anchor not in without)
        buttons = (button for button in find_buttons(element) if button not in without)
        found = [(anchor, _read_anchor(page, anchor, in_bill_row)) for anchor in anchors]
        found += [(button, _read_button(page, button, in_bill_row)) for button in buttons]
    return [(element, link) for element, link in found if link is not None]


def _anchors_in(element: Element) -> Iterator[Element]:
    for number, anchor in enumerate(element.iter("a")):
        if number == MAX_LINKS:
            raise VisitError(f"the page has more than {MAX_LINKS:,} links, too many to be looked through")
        yield anchor


def _read_picked(page: Page, element: Element) -> DocumentLink | None:
    if element.tag != "a":
        return _press(page, element) or _read_control(page, element)
    posted = read_posting_anchor(page, element)
    if posted:
        return DocumentLink(posted.url, True, element.get("download") or None, posted)
    url = _address_of(page, element)
    return DocumentLink(url, True, element.get("download") or None) if url else _read_control(page, element)


def _read_anchor(page: Page, anchor: Element, in_bill_row: bool) -> DocumentLink | None:
    posted = read_posting_anchor(page, anchor)
    url = posted.url if posted else _address_of(page, anchor)
    if url is None:
        return _read_control(page, anchor) if in_bill_row and _offers_download(_words_of(anchor)) else None
    words = _words_of(anchor)
    certain = _judge(anchor, words, "" if posted else url, in_bill_row)
    # What only might be a document is not posted: it might be an order just as well.
    if certain is None or (posted and (not certain or _OTHER_WORD.search(words))):
        return None
    return DocumentLink(url, certain, anchor.get("download") or None, posted)


def _read_button(page: Page, button: Element, in_bill_row: bool) -> DocumentLink | None:
    words = label_of(button)
    if not _offers_download(words) or not _judge(button, words, "", in_bill_row):
        return None
    return _press(page, button) or (_read_control(page, button) if in_bill_row else None)


def _offers_download(words: str) -> bool:
    return bool(_DOWNLOAD_WORD.search(words)) and not _OTHER_WORD.search(words)


def _read_control(page: Page, element: Element) -> DocumentLink | None:
    """What only a script knows the way to: it can be pressed where the page is live."""
    mark = element.get(CONTROL_MARK)
    if not page.is_live or mark is None or page.form_by_control.get(element) is not None:
        return None
    return DocumentLink(page.url, True, element.get("download") or None, control=int(mark))


def _press(page: Page, button: Element) -> DocumentLink | None:
    sent = press(page, button)
    if isinstance(sent, str):
        return DocumentLink(sent, True)
    return DocumentLink(sent.url, True, form=sent) if sent else None


def _address_of(page: Page, anchor: Element) -> str | None:
    """Where the anchor leads, if that is another address than the page's own, and one to be got."""
    if method_of(anchor) != "get":
        return None
    href = (anchor.get("href") or "").strip()
    url = resolve(page.base_url, href) if href and not href.startswith("#") else None
    if url is None or url == page.url or (is_same_page(url, page.url) and not urlsplit(url).query):
        return None
    return url


def extension_of(url: str) -> str | None:
    """The file extension of the URL's path, lower case, or of a `format=` in its query."""
    parts = urlsplit(url)
    match = _EXTENSION.search(unquote(parts.path)) or _EXTENSION.search(unquote(parts.query))
    match = match or _QUERY_FORMAT.search(parts.query)
    return match[1].lower() if match else None


def _picked(page: Page, selector: str, inside: Element) -> Iterable[Element]:
    seen: dict[Element, None] = {}
    for element in select(page, selector):
        is_itself = element.get("href") or element.tag in ("button", "input")
        found = [element] if is_itself else [*element.iter("a"), *find_buttons(element)]
        seen.update((one, None) for one in found if inside is page.root or inside in one.iterancestors())
    return seen


def _words_of(anchor: Element) -> str:
    words = (text_of(anchor), anchor.get("title"), anchor.get("aria-label"), *_image_texts(anchor))
    return " ".join(filter(None, words))[:300]


def _judge(anchor: Element, words: str, url: str, in_bill_row: bool) -> bool | None:
    """Whether what says these words is a document: True, False for perhaps, None for no."""
    if _is_in_surroundings(anchor):
        return None
    path_words = re.sub(r"[/_.\-]+", " ", unquote(urlsplit(url).path))[:300]
    if _OTHER_WORD.search(words) and not _BILL_WORD.search(words):
        return None
    if anchor.get("download") is not None or _DOCUMENT_TYPES.match(anchor.get("type") or ""):
        return True
    if extension_of(url) in DOCUMENT_EXTENSIONS:
        return None if not in_bill_row and _OTHER_WORD.search(path_words) else True
    if _DOWNLOAD_WORD.search(words) and (in_bill_row or _BILL_WORD.search(f"{words} {path_words}")):
        return True
    if in_bill_row and (_BILL_WORD.search(f"{words} {path_words}") or _DOWNLOAD_WORD.search(path_words)):
        return False
    is_numbered_bill = _BILL_WORD.search(words) and any(char.isdigit() for char in words)
    return False if is_numbered_bill and not _OTHER_WORD.search(words) else None


def _image_texts(anchor: Element) -> list[str]:
    return [image.get(key) or "" for image in anchor.iter("img", "svg", "i") for key in ("alt", "aria-label", "title")]


def _is_in_surroundings(anchor: Element) -> bool:
    return any(
        outer.tag in _SURROUNDINGS or outer.get("role") in ("navigation", "banner", "contentinfo")
        for outer in anchor.iterancestors()
        if isinstance(outer.tag, str)
    )
