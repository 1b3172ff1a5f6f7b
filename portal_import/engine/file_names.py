"""Names for downloaded files, from Content-Disposition (RFC 6266) or the URL. Never trusts either."""

import mimetypes
import re
import unicodedata
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from pathlib import PurePosixPath
from urllib.parse import unquote, unquote_to_bytes, urlsplit

MAX_NAME_LENGTH = 120
_MAX_HEADER = 2_000
_PARAMETER = re.compile(
    r""";\s*(?P<name>[\w!#$%&'+\-.^`|~]+\*?)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<token>[^;"]*))""", re.DOTALL
)
_EXTENDED = re.compile(r"([\w!#$%&+\-^`{}~]*)'[^']*'(.*)", re.DOTALL)
_FORBIDDEN = re.compile(r'[<>:"|?*\\/]+')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d) *(\..*)?", re.IGNORECASE)
_EXTENSION = re.compile(r"[a-z0-9]{1,8}")
# Types for which the mimetypes of the machine disagree or know nothing.
_EXTENSIONS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/csv": "csv",
    "application/xml": "xml",
    "text/xml": "xml",
    "application/zip": "zip",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}
_TYPES = {extension: content_type for content_type, extension in reversed(_EXTENSIONS.items())}


def choose_file_name(disposition: str | None, url: str, content_type: str, *, hint: str | None = None) -> str:
    """A safe name with an extension, from the header, else `hint` (a `download` attribute), else the URL."""
    path_name = unquote(PurePosixPath(urlsplit(url).path).name)
    for candidate in (parse_disposition(disposition or ""), hint, path_name):
        name = sanitise_name(candidate or "")
        if name:
            break
    else:
        name = "document"
    extension = extension_for(content_type)
    if not _has_extension(name) and extension:
        name = f"{name[: MAX_NAME_LENGTH - 9]}.{extension}"
    return name


def parse_disposition(header: str) -> str | None:
    """The file name of a Content-Disposition; `filename*` wins over `filename`. Repairs usual mistakes:
    raw UTF-8 or Latin-1 bytes (surrogate escapes, as HTTP clients leave them) and RFC 2047 words."""
    header = header[:_MAX_HEADER]
    found: dict[str, str] = {}
    for match in _PARAMETER.finditer(header if ";" in header else f";{header}"):
        quoted = match["quoted"]
        value = match["token"].strip() if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
        found.setdefault(match["name"].lower(), value)
    extended = _decode_extended(found.get("filename*", ""))
    return extended or _repair(found.get("filename", "")) or None


def sanitise_name(name: str) -> str:
    """The name without folders, control characters and whatever a file system may refuse; maybe empty."""
    name = unicodedata.normalize("NFC", name.replace("\\", "/").rstrip("/").rpartition("/")[2])
    name = "".join(char for char in name if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn"))
    name = " ".join(_FORBIDDEN.sub("_", name).split()).strip(". ")
    if _RESERVED.fullmatch(name):
        name = f"_{name}"
    if len(name) <= MAX_NAME_LENGTH:
        return name
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension) > 8:
        return name[:MAX_NAME_LENGTH]
    return f"{stem[: MAX_NAME_LENGTH - len(extension) - 1]}.{extension}"


def extension_of(name: str) -> str:
    """The name's extension in lower case, or `bin`."""
    extension = name.rpartition(".")[2].lower() if "." in name else ""
    return extension if _EXTENSION.fullmatch(extension) else "bin"


def extension_for(content_type: str) -> str | None:
    """The usual extension of a content type; None for a type that says nothing."""
    if content_type in ("", "application/octet-stream", "binary/octet-stream"):
        return None
    known = _EXTENSIONS.get(content_type)
    return known or (mimetypes.guess_extension(content_type) or "").lstrip(".") or None


def type_for(name: str) -> str:
    """The usual content type of a file name."""
    known = _TYPES.get(extension_of(name))
    return known or mimetypes.guess_type(name)[0] or "application/octet-stream"


def _has_extension(name: str) -> bool:
    stem, dot, extension = name.rpartition(".")
    return bool(stem and dot and _EXTENSION.fullmatch(extension.lower())) and not extension.isdigit()


def _decode_extended(value: str) -> str | None:
    """An RFC 8187 value such as `UTF-8''Rechnung%20M%C3%A4rz.pdf`; None if it isn't one."""
    match = _EXTENDED.fullmatch(value)
    if match is None:
        return None
    try:
        return unquote_to_bytes(match[2]).decode(match[1] or "utf-8")
    except (LookupError, ValueError):
        return None


def _repair(value: str) -> str:
    if value.startswith("=?"):
        try:
            return str(make_header(decode_header(value)))
        except (HeaderParseError, LookupError, ValueError):
            return value
    if any("\udc80" <= char <= "\udcff" for char in value):
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value
