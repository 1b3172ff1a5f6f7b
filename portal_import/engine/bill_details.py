"""Completes bills from their PDFs: number, dates and total where the table lacks them. Says which came from there."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from decimal import Decimal

from db.models import LogLevel
from portal_import.bill_reading.bill_text import BillText, read_bill_text
from portal_import.engine.pdf_reader import MAX_PDF_BYTES, PdfReader, UnreadablePdfError
from portal_import.engine.repetition import Report
from portal_import.engine.storage import DocumentStore, StorageError
from portal_import.outcomes import BillFound, Document

_WANTED = ("number", "issued_on", "due_on", "amount")
_PDF = "application/pdf"
_NO_ORDER = "none"


@dataclass
class BillDetails:
    """Reads the PDFs of one account's bills, each once: what was read is kept with the document and known next time."""

    storage: DocumentStore
    pdfs: PdfReader
    date_order: str | None
    report: Report

    async def complete(self, bill: BillFound) -> BillFound:
        """The bill, with what its PDF says where the table says nothing. Raises nothing that a PDF can cause."""
        missing = [name for name in _WANTED if getattr(bill, name) is None]
        pdf = next((document for document in bill.documents if document.content_type == _PDF), None)
        if not missing or pdf is None:
            return bill
        facts = pdf.facts
        if facts is None or (facts["date_order"] != self._order and not {"issued_on", "due_on"} <= facts.keys()):
            facts = await self._read(pdf)
        if facts is None:
            return bill
        documents = tuple(replace(one, facts=facts) if one is pdf else one for one in bill.documents)
        return _fill(replace(bill, documents=documents), _from_facts(facts), missing)

    @property
    def _order(self) -> str:
        return self.date_order or _NO_ORDER

    async def _read(self, pdf: Document) -> dict[str, str] | None:
        """What the stored PDF says, as it is kept; None, and said, when it can't be read."""
        if pdf.size_bytes > MAX_PDF_BYTES:
            self.report(LogLevel.INFO, f"{pdf.file_name} is too large to be read for what the table lacks")
            return {"date_order": self._order}
        try:
            text = await self.pdfs.read_text(await self.storage.read(pdf.file_url, MAX_PDF_BYTES))
        except (UnreadablePdfError, StorageError) as error:
            self.report(LogLevel.WARNING, f"{pdf.file_name} could not be read for what the table lacks: {error}")
            is_lasting = isinstance(error, UnreadablePdfError) and error.is_lasting
            return {"date_order": self._order} if is_lasting else None
        return _to_facts(read_bill_text(text, self.date_order)) | {"date_order": self._order}


def _fill(bill: BillFound, text: BillText, missing: list[str]) -> BillFound:
    found = {name: getattr(text, name) for name in missing if getattr(text, name) is not None}
    if "amount" in found and bill.currency is None and text.currency:
        found["currency"] = text.currency
    return replace(bill, **found, from_document=tuple(found))


def _to_facts(text: BillText) -> dict[str, str]:
    return {name: str(value) for name, value in asdict(text).items() if value is not None}


def _from_facts(facts: Mapping[str, str]) -> BillText:
    dates = {name: date.fromisoformat(facts[name]) for name in ("issued_on", "due_on") if name in facts}
    return BillText(
        number=facts.get("number"),
        issued_on=dates.get("issued_on"),
        due_on=dates.get("due_on"),
        amount=Decimal(facts["amount"]) if "amount" in facts else None,
        currency=facts.get("currency"),
    )
