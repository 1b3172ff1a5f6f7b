"""Reads the CSV of portal accounts that a job is made of, or says everything that is wrong with it.

No message, exception or repr made here may hold a password. That includes the first line of a file
without a header, where any cell may be one.
"""

import csv
import io
import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

MAX_ACCOUNTS = 10_000
MAX_BYTES = 10 * 1024 * 1024
MAX_COLUMNS = 500
MAX_PROBLEMS = 50
MAX_NAME_LENGTH = 100
_MAX_SHOWN_NAMES = 20

DELIMITERS = (",", ";", "\t")

# In order of preference: when several columns could be the username, the first one here is taken.
USERNAME_NAMES = ("username", "user", "login", "email", "mail", "userid", "account")
PASSWORD_NAMES = ("password", "pass", "passwd", "pwd")

_SAVE_AS_CSV = "save it as CSV"
_EXCEL = f"this is an Excel workbook; {_SAVE_AS_CSV}"
_IMAGE = "this is an image, not a CSV file"
_SIGNATURES = (
    (b"\xd0\xcf\x11\xe0", _EXCEL),
    (b"%PDF-", "this is a PDF document, not a CSV file"),
    (b"\x89PNG", _IMAGE),
    (b"\xff\xd8\xff", _IMAGE),
    (b"GIF8", _IMAGE),
    (b"\x1f\x8b", "this is a gzip archive; unpack it and upload the CSV file in it"),
)
_INVISIBLE = frozenset({"Cc", "Cf", "Zl", "Zp"})
_BREAKS = re.compile(r"[\t\r\n]+")
_SEPARATORS = re.compile(r"[\s_-]+")
_ADDRESS = re.compile(r"\S@\S")
_WORDS = re.compile(r"[^\W\d_]+(?:[ ._-]+[^\W\d_]+)*[.]?")


@dataclass(frozen=True)
class AccountRow:
    """One account. Rows are numbered as a spreadsheet numbers them: the first line is row 1, blank
    lines count, and a value with line breaks in it does not start a new row."""

    row_number: int
    username: str
    password: str = field(repr=False)
    extra: dict[str, str]


@dataclass(frozen=True)
class AccountsFile:
    """A valid accounts file. Column names are as typed in the header, but for blanks at the ends."""

    rows: tuple[AccountRow, ...]
    encoding: str
    delimiter: str
    username_column: str
    password_column: str
    extra_columns: tuple[str, ...]
    ignored_blank_rows: int


@dataclass(frozen=True)
class Problem:
    row: int | None
    column: str | None
    message: str

    def __str__(self) -> str:
        where = "" if self.row is None else f"row {self.row}: "
        column = "" if self.column is None else f' (column "{self.column}")'
        return f"{where}{self.message}{column}"


class InvalidAccountsFileError(ValueError):
    """The accounts file can't be used.

    `problems` holds the first MAX_PROBLEMS of them and `omitted` the number of the others.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems = tuple(problems[:MAX_PROBLEMS])
        self.omitted = len(problems) - len(self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        total = len(self.problems) + self.omitted
        lines = [f"the accounts file has {total:,} problems:", *map(str, self.problems)]
        if self.omitted:
            lines.append(f"… and {self.omitted:,} more")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Header:
    """The line that names the columns; `username` and `password` are positions in `names`."""

    row: int
    delimiter: str
    names: tuple[str, ...]
    username: int | None
    passwords: tuple[int, ...]

    @property
    def recognised(self) -> int:
        return (self.username is not None) + bool(self.passwords)


@dataclass(frozen=True)
class _Layout:
    """Where the values of an account are in its row. `unnamed` columns must hold nothing."""

    header_row: int
    delimiter: str
    names: tuple[str, ...]
    username: int
    password: int
    extra: tuple[int, ...]
    unnamed: tuple[int, ...]


def read_accounts_csv(data: bytes) -> AccountsFile:
    """Read an uploaded file whole, or raise InvalidAccountsFileError with every problem found.

    Accepted: UTF-8 (with or without a BOM), UTF-16 with a BOM, else Windows-1252; comma, semicolon
    or tab; quoting as in RFC 4180; CRLF, LF or CR. Usernames and extra values lose the blanks at
    their ends, passwords are kept exactly.
    """
    _check_bytes(data)
    encoding, text = _decode(data)
    layout = _layout(_find_header(text))
    rows, blank_rows = _read_rows(text, layout)
    return AccountsFile(
        rows=tuple(rows),
        encoding=encoding,
        delimiter=layout.delimiter,
        username_column=layout.names[layout.username],
        password_column=layout.names[layout.password],
        extra_columns=tuple(layout.names[index] for index in layout.extra),
        ignored_blank_rows=blank_rows,
    )


def normalise_name(name: str) -> str:
    """Columns are the same when only case, blanks, hyphens or underscores tell them apart."""
    return _SEPARATORS.sub("", name.casefold())


def _refuse(message: str, row: int | None = None, column: str | None = None) -> NoReturn:
    raise InvalidAccountsFileError([Problem(row, column, message)])


# The file as bytes


def _check_bytes(data: bytes) -> None:
    if not data:
        _refuse("the file is empty")
    for signature, message in _SIGNATURES:
        if data.startswith(signature):
            _refuse(message)
    if data.startswith(b"PK\x03\x04"):
        _refuse(_describe_zip(data))
    if len(data) > MAX_BYTES:
        _refuse(f"the file has {len(data):,} bytes; at most {MAX_BYTES:,} are accepted")


def _describe_zip(data: bytes) -> str:
    if b"xl/workbook" in data:
        return _EXCEL
    if b"opendocument.spreadsheet" in data[:256]:
        return f"this is an OpenDocument spreadsheet; {_SAVE_AS_CSV}"
    return "this is a zip archive; unpack it and upload the CSV file in it"


def _decode(data: bytes) -> tuple[str, str]:
    if data.startswith(b"\xef\xbb\xbf"):
        candidates = ("utf-8-sig",)
    elif data.startswith((b"\xff\xfe", b"\xfe\xff")):
        candidates = ("utf-16",)
    else:
        candidates = ("utf-8", "windows-1252")
    for encoding in candidates:
        text = _decode_as(data, encoding)
        if text is None:
            continue
        if "\0" in text:
            _refuse('the file holds NUL bytes, so it is not a CSV file; save it as "CSV UTF-8"')
        if not text.strip():
            _refuse("the file is empty")
        if text.lstrip().startswith("<"):
            _refuse("this is a web page or an XML file, not a CSV file")
        return encoding, text
    _refuse(f'the file is not valid {" or ".join(candidates)} text; save it as "CSV UTF-8"')


def _decode_as(data: bytes, encoding: str) -> str | None:
    # None instead of an error: a UnicodeDecodeError carries the whole file, so it must not become
    # the context of the error that is raised.
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


# Rows of cells


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with their numbers. Raises InvalidAccountsFileError at a row with unmatched quotes."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    for row in itertools.count(1):
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            _refuse(_describe_quoting(str(error)), row)
        yield row, cells


def _describe_quoting(csv_error: str) -> str:
    if "expected after" in csv_error:
        return (
            "a quote is closed in the middle of a value; put the whole value in quotes and "
            'double the quotes inside it ("")'
        )
    if "field limit" in csv_error:
        return f'a value has more than {csv.field_size_limit():,} characters; a quote (") may not be closed'
    return 'a quote (") is opened in this row and never closed'


def _is_blank(cells: list[str]) -> bool:
    return not any(cell.strip() for cell in cells)


# The header


def _find_header(text: str) -> _Header:
    """The first row that isn't blank, split by the delimiter that makes the most sense of it."""
    headers: list[_Header] = []
    failures: list[InvalidAccountsFileError] = []
    for delimiter in DELIMITERS:
        try:
            headers.extend(_read_header(text, delimiter))
        except InvalidAccountsFileError as error:
            failures.append(error)
    best = max(headers, key=lambda header: (header.recognised, len(header.names)), default=None)
    if failures and (best is None or len(best.names) == 1):
        raise failures[0]
    if best is None:
        _refuse("the file is empty")
    return best


def _read_header(text: str, delimiter: str) -> list[_Header]:
    for row, cells in _records(text, delimiter):
        if not _is_blank(cells):
            if len(cells) > MAX_COLUMNS:
                _refuse(f"the file has {len(cells):,} columns; at most {MAX_COLUMNS:,} are accepted", row)
            names = tuple(_BREAKS.sub(" ", cell).strip() for cell in cells)
            known = [normalise_name(name) for name in names]
            username = next((known.index(name) for name in USERNAME_NAMES if name in known), None)
            passwords = tuple(i for i, name in enumerate(known) if name in PASSWORD_NAMES)
            return [_Header(row, delimiter, names, username, passwords)]
    return []


def _layout(header: _Header) -> _Layout:
    names = header.names
    if len(names) == 1:
        _refuse(
            "only one column was found; username and password must be separated by a comma, a semicolon or a tab",
            header.row,
        )
    _check_is_header(header)
    problems = [*_missing_columns(header), *_ambiguous_columns(header)]
    if problems or header.username is None:
        raise InvalidAccountsFileError(problems)
    username, password = header.username, header.passwords[0]
    others = [index for index in range(len(names)) if index not in (username, password)]
    return _Layout(
        header_row=header.row,
        delimiter=header.delimiter,
        names=names,
        username=username,
        password=password,
        extra=tuple(index for index in others if names[index]),
        unnamed=tuple(index for index in others if not names[index]),
    )


def _check_is_header(header: _Header) -> None:
    looks_like_data = any(_ADDRESS.search(name) or name.isdecimal() for name in header.names)
    if header.recognised == 2 or (header.recognised == 1 and not looks_like_data):
        return
    found = (
        "the first line looks like an account, not like column names"
        if looks_like_data
        else "the first line names no username column and no password column"
    )
    example = header.delimiter.join(("username", "password")).replace("\t", "<tab>")
    # No cell is shown: without a header any of them may be a password.
    _refuse(f"{found}; it should be like this: {example}", header.row)


def _missing_columns(header: _Header) -> Iterator[Problem]:
    for wanted, is_found, names in (
        ("username", header.username is not None, USERNAME_NAMES),
        ("password", bool(header.passwords), PASSWORD_NAMES),
    ):
        if not is_found:
            found = ", ".join(_shown_names(header))
            message = f"no {wanted} column; looked for {', '.join(names)}; found {found}"
            yield Problem(header.row, None, message)


def _shown_names(header: _Header) -> Iterator[str]:
    # Without a password column this may still be an account whose username is "user", so a name
    # that doesn't read like one is given by its place only.
    for index, name in enumerate(header.names[:_MAX_SHOWN_NAMES]):
        if name and (header.passwords or _WORDS.fullmatch(name)):
            yield f'"{name[:MAX_NAME_LENGTH]}"'
        else:
            yield f"column {index + 1}"
    if len(header.names) > _MAX_SHOWN_NAMES:
        yield f"and {len(header.names) - _MAX_SHOWN_NAMES:,} more"


def _ambiguous_columns(header: _Header) -> Iterator[Problem]:
    if not header.passwords:
        return
    first_places: dict[str, int] = {}
    for index, name in enumerate(header.names):
        if len(name) > MAX_NAME_LENGTH or "{" in name or "}" in name or _first_invisible(name):
            message = (
                f"the name of column {index + 1} holds a brace or an invisible character, "
                f"or more than {MAX_NAME_LENGTH} characters"
            )
            yield Problem(header.row, None, message)
            continue
        place = first_places.setdefault(normalise_name(name), index)
        if name and place != index:
            message = f'columns {place + 1} and {index + 1} have the same name, "{header.names[place]}"'
            yield Problem(header.row, None, message)
    # A second password must not become an extra column: those are stored and shown openly.
    distinct = {normalise_name(header.names[index]) for index in header.passwords}
    if len(distinct) > 1:
        columns = " and ".join(f'"{header.names[index]}"' for index in header.passwords)
        message = f"more than one password column: {columns}; keep one"
        yield Problem(header.row, None, message)


# The accounts


def _read_rows(text: str, layout: _Layout) -> tuple[list[AccountRow], int]:
    """The accounts and the number of blank rows that were passed over."""
    rows: list[AccountRow] = []
    problems: list[Problem] = []
    rows_by_username: dict[str, int] = {}
    count = blank_rows = 0
    try:
        for number, cells in _records(text, layout.delimiter):
            if _is_blank(cells):
                blank_rows += 1
                continue
            if number == layout.header_row:
                continue
            count += 1
            if count > MAX_ACCOUNTS:
                continue
            found = list(_row_problems(number, cells, layout, rows_by_username))
            if found:
                problems.extend(found)
            else:
                rows.append(_account(number, cells, layout))
    except InvalidAccountsFileError as error:
        problems.extend(error.problems)
    if count > MAX_ACCOUNTS:
        message = f"the file holds {count:,} accounts; at most {MAX_ACCOUNTS:,} are accepted"
        problems.insert(0, Problem(None, None, message))
    if not count and not problems:
        problems.append(Problem(None, None, "the file has a header but no accounts"))
    if problems:
        raise InvalidAccountsFileError(problems)
    return rows, blank_rows


def _row_problems(
    number: int, cells: list[str], layout: _Layout, rows_by_username: dict[str, int]
) -> Iterator[Problem]:
    """What is wrong with one row; notes its username in `rows_by_username`."""
    expected = len(layout.names)
    if len(cells) != expected:
        message = f"{len(cells)} cells found, {expected} expected"
        if len(cells) > expected:
            delimiter = "a tab" if layout.delimiter == "\t" else f'"{layout.delimiter}"'
            message += f"; a value that holds {delimiter} must be in quotes"
        yield Problem(number, None, message)
        return
    username = cells[layout.username].strip()
    username_column = layout.names[layout.username]
    if not username:
        yield Problem(number, username_column, "username is empty")
    elif invisible := _first_invisible(username):
        message = f"username holds the invisible character U+{ord(invisible):04X}"
        yield Problem(number, username_column, message)
    else:
        first_row = rows_by_username.setdefault(username.casefold(), number)
        if first_row != number:
            yield Problem(number, username_column, f"the same username as in row {first_row}")
    if not cells[layout.password].strip():
        yield Problem(number, layout.names[layout.password], "password is empty")
    for index in layout.unnamed:
        if cells[index].strip():
            yield Problem(number, None, f"column {index + 1} holds a value but has no name")


def _first_invisible(text: str) -> str | None:
    if text.isprintable():
        return None
    return next((char for char in text if unicodedata.category(char) in _INVISIBLE), None)


def _account(number: int, cells: list[str], layout: _Layout) -> AccountRow:
    return AccountRow(
        row_number=number,
        username=cells[layout.username].strip(),
        password=cells[layout.password],
        extra={layout.names[index]: cells[index].strip() for index in layout.extra},
    )
