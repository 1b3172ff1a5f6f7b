"""Tells what a table's columns mean by their headers, in English, German, French and Spanish."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache

# Per field, the surest wording first; matched against `plain_header`. A header takes the first field
# of this order that matches at all.
_WORDINGS: dict[str, tuple[str, ...]] = {
    "currency": (r"^(currency|ccy|wahrung|waehrung|devise|monnaie|moneda|divisa)\b",),
    "portal_status": (
        r"^((payment|invoice|bill) )?(status|state)$|^(zahlungs|rechnungs)?status$",
        r"^(statut|etat|estado|situation|situacion)\b",
    ),
    "due_on": (
        r"^(payment )?due( date| on| by)?$|^date due$|^(payable|pay|payment)( due)? by$|^payment (deadline|date due)$",
        r"^(fallig|faellig)\w*( am| bis)?$|^zahlbar( bis)?$|^zahlungsziel$|^zu zahlen bis$",
        r"\becheance\b|^date limite\b|^a (payer|regler) avant\b|^payable avant\b",
        r"\bvencimiento\b|^vence\b|^fecha limite\b|^pagar antes\b",
    ),
    "issued_on": (
        r"^(invoice|bill|billing|statement|document|issue|issued|issuing) date$",
        r"^date (of )?(issue|issued|invoice|bill)\b",
        r"^(issued|billed|invoiced)( on)?$|^(rechnungs|ausstellungs|beleg|dokument\w*) ?datum$|^datum der rechnung$",
        r"^date (de |d |du )?(la )?(facture|facturation|emission|document)$|^emise? le$",
        r"^fecha (de )?(la )?(factura|facturacion|emision|expedicion)$|^emitida( el)?$",
        r"^(date|datum|fecha|data|created|posted)$",
    ),
    "number": (
        r"^(invoice|bill|document|statement|receipt|voucher) ?(number|no|nr|num|id|ref|reference)$",
        r"^(rechnungs|beleg|dokument\w*) ?(nummer|nr|no)$",
        r"^(numero|no|num|ref|reference) (de )?(la )?(facture|factura|document\w*)$",
        r"^(facture|factura) (no|nr|num|numero)$|^folio$",
        r"^(number|no|nr|nummer|numero|id|reference|ref|referenz|referencia)$",
        r"^(invoice|bill|statement|rechnung|beleg|facture|factura|document|dokument)$",
    ),
    "amount": (
        r"^(total|gross|invoice|bill)( amount| total)?( due| payable)?( incl\b.*)?$|^grand total$",
        r"^amount (incl|gross)\b.*",
        r"^(gesamt|rechnungs|brutto|end)(betrag|summe)\b.*|^(montant|total) (total )?(t ?t ?c|a payer)$",
        r"^(importe|monto) total$|^total (a pagar|con iva)$",
        r"^(amount|sum|betrag|summe|brutto|montant|importe|monto|total|price|preis|prix|precio|value)$",
        r"^(amount|balance|total) (due|payable)$|^(offener|falliger) betrag$|^zahlbetrag$",
        r"^(amount|betrag|montant|importe|total)\b(?!.*\b(paid|bezahlt|paye|pagado|net|netto|ht|tax|vat|mwst|tva|iva)\b).*",
    ),
}
FIELD_WORDS = {
    "number": "number",
    "issued_on": "issue date",
    "due_on": "due date",
    "amount": "amount",
    "currency": "currency",
    "portal_status": "status",
}
_PATTERNS = {field: tuple(re.compile(wording) for wording in wordings) for field, wordings in _WORDINGS.items()}
_NUMBER_SIGN = re.compile(r"n\s?[°º]|№|#|\bn\s?\.\s?o\b")
_NOT_WORD = re.compile(r"[^\w]+|_")


@lru_cache(maxsize=1_000)  # the accounts of a run see the same headers
def plain_header(text: str) -> str:
    """The header without accents, case and punctuation; number signs become `no`, units go."""
    text = _NUMBER_SIGN.sub(" no ", text[:100].casefold())
    decomposed = unicodedata.normalize("NFKD", text)
    bare = "".join(char for char in decomposed if not unicodedata.combining(char))
    words = _NOT_WORD.sub(" ", bare).split()
    return " ".join(word for word in words if word not in ("eur", "usd", "gbp", "chf", "in"))


def map_headers(headers: Sequence[str], column_mapping: Mapping[str, str] | None = None) -> dict[str, int]:
    """The column of each field that the headers name: the surest wording wins, then the leftmost.

    `column_mapping`, the header's text by field, wins over all wordings: a field that it names stands in that
    column or in none.
    """
    chosen = {field: plain_header(header) for field, header in (column_mapping or {}).items()}
    plains = [plain_header(header) for header in headers]
    mapped = {field: plains.index(plain) for field, plain in chosen.items() if plain and plain in plains}
    free = [(column, plain) for column, plain in enumerate(plains) if column not in mapped.values()]
    return {field: column for field, column in _map_by_wording(free).items() if field not in chosen} | mapped


def _map_by_wording(plain_headers: Sequence[tuple[int, str]]) -> dict[str, int]:
    best: dict[str, tuple[int, int]] = {}
    for column, plain in plain_headers:
        match = _match(plain) if plain else None
        if match:
            field, rank = match
            best[field] = min(best.get(field, (rank, column)), (rank, column))
    return {field: column for field, (_, column) in best.items()}


@lru_cache(maxsize=1_000)
def _match(plain: str) -> tuple[str, int] | None:
    for field, patterns in _PATTERNS.items():
        for rank, pattern in enumerate(patterns):
            if pattern.search(plain):
                return field, rank
    return None
