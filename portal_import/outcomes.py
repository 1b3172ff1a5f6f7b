"""What an import of one account is given and what it brings back. Values only, no behaviour.

No repr of anything here holds a password.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from db.models import ResultCause, ResultStatus

_MB = 1024 * 1024


@dataclass(frozen=True)
class Document:
    """One stored file. `file_url` is for `db.documents.open_document`.

    `source` stands for the address that it came from; `etag` and `last_modified` are what the portal said there of
    this very content. `facts` are what was read from it, None when it was not read.
    """

    file_url: str
    file_name: str
    content_type: str
    size_bytes: int
    sha256: str
    source: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    facts: Mapping[str, str] | None = None


@dataclass(frozen=True)
class AccountLogin:
    """One account of a portal; both URLs are already filled in for it.

    Earlier runs found `bills_before` bills, and stored `known_documents`, here by their source.
    """

    username: str
    password: str = field(repr=False)
    login_url: str
    billing_url: str
    bills_before: int = 0
    known_documents: Mapping[str, Document] = field(default_factory=dict[str, Document], repr=False)


@dataclass(frozen=True)
class PortalProfile:
    """What a person has said of a portal; None leaves it to be found.

    Selectors are CSS. `column_mapping` is the header text by the bill's field; `date_order` is how 03/04/2026
    is meant, and without it such a date stays unread.
    """

    username_selector: str | None = None
    password_selector: str | None = None
    submit_selector: str | None = None
    link_selector: str | None = None
    next_selector: str | None = None
    date_order: str | None = None
    column_mapping: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Limits:
    """How long, how much, how often and where to. What is waited for a turn counts for neither timeout.

    `step_computing_seconds` is what reading one answer may take of the processor, and so what the other accounts may
    have to wait for it.
    """

    request_timeout_seconds: float = 30
    account_timeout_seconds: float = 300
    step_computing_seconds: float = 10
    max_file_bytes: int = 50 * _MB
    max_page_bytes: int = 10 * _MB
    max_redirects: int = 10
    max_documents: int = 500
    max_pages: int = 100
    max_bills: int = 5_000
    max_retries: int = 3
    max_retry_wait_seconds: float = 60
    allows_private_networks: bool = True


@dataclass(frozen=True)
class BillFound:
    """One bill of the billing page.

    `bill_key` is unique within its outcome: the number, or the document's name where there is none.
    `fields` holds the table's cells as they stood, by header; what could not be read from them for
    certain is None. `from_document` names the values that were read from the PDF instead.
    """

    bill_key: str
    number: str | None = None
    issued_on: date | None = None
    due_on: date | None = None
    amount: Decimal | None = None
    currency: str | None = None
    portal_status: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    documents: tuple[Document, ...] = ()
    from_document: tuple[str, ...] = ()


@dataclass(frozen=True)
class AccountOutcome:
    """How an account's import ended.

    `cause` tells apart what has the same status but asks for something else of people. `error` is for people,
    `final_error` the technical error behind it; both None on success. `bills` may hold bills even when the import
    failed: what was stored before it did. `retry_attempts` counts the requests that were sent again.
    """

    status: ResultStatus
    error: str | None = None
    final_error: str | None = None
    retry_attempts: int = 0
    bills: tuple[BillFound, ...] = ()
    cause: ResultCause | None = None


@dataclass(frozen=True)
class TableSample:
    """The billing page's table as it stood: the texts of its header cells and of its first rows."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class SignInTest:
    """What a test of the sign-in found. Its outcome holds no bills; `sample` is None where no table was seen."""

    outcome: AccountOutcome
    sample: TableSample | None = None
