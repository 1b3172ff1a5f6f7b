"""Portals whose answers are hostile once they are there: bombs, sizes, encodings, odd compressions."""

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable

import pytest

from tests.hostile.attacks import Importer
from tests.portal_server import HTML, LOGIN_PAGE, Route, answer, ordinary_routes

MEGABYTE = 1024 * 1024
BOMB_BYTES = 256 * MEGABYTE
PAGE_TOO_LARGE = "the page is larger than 10,485,760 bytes"


def compress(wbits: int, start: bytes = b"") -> bytes:
    """256 MB of blanks, in the size of a picture."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, wbits)
    blanks = b" " * MEGABYTE
    parts = [squeeze.compress(start), *(squeeze.compress(blanks) for _ in range(BOMB_BYTES // MEGABYTE))]
    return b"".join(parts) + squeeze.flush()


@pytest.fixture(scope="module")
def gzip_bomb() -> bytes:
    return compress(31, b"%PDF-1.4\n")


def compressed(content: bytes, encoding: str, content_type: str = HTML) -> bytes:
    return answer(content, content_type=content_type, Content_Encoding=encoding)


@pytest.mark.parametrize("stage", ["GET /login", "POST /login", "GET /billing"])
def test_gzip_bomb_for_a_page(importer: Importer, gzip_bomb: bytes, stage: str):
    made = importer.attack(ordinary_routes() | {stage: compressed(gzip_bomb, "gzip")}, megabytes=40)
    assert made.status == "portal_error"
    assert (made.error or "").endswith(PAGE_TOO_LARGE)


@pytest.mark.parametrize("wbits", [15, -15])
def test_deflate_bomb_for_a_page(importer: Importer, wbits: int):
    made = importer.attack({"GET /login": compressed(compress(wbits), "deflate")}, megabytes=40)
    assert (made.status, made.error) == ("portal_error", PAGE_TOO_LARGE)


def test_gzip_bomb_for_a_document(importer: Importer, gzip_bomb: bytes):
    bomb = compressed(gzip_bomb, "gzip", "application/pdf")
    made = importer.attack(ordinary_routes() | {"GET /bills/17.pdf": bomb}, megabytes=40)
    assert made.error == (
        "1 of 2 documents could not be downloaded: the file is larger than the 52,428,800 bytes allowed"
    )
    assert len(made.files) == 1


def test_archive_that_is_a_bomb_is_kept_as_it_came(importer: Importer):
    # Nothing opens it: it costs its own size, whatever it would unpack to.
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("bill.pdf", bytes(100 * MEGABYTE))
    page = '<a href="/all.zip">Download all invoices</a>'
    routes = ordinary_routes() | {
        "GET /billing": answer(page),
        "GET /all.zip": answer(archive.getvalue(), content_type="application/zip"),
    }
    made = importer.attack(routes, megabytes=10)
    assert (made.status, made.stored_bytes) == ("success", len(archive.getvalue()))


def test_bomb_within_a_bomb_is_not_unpacked_twice(importer: Importer):
    bomb = gzip.compress(gzip.compress(bytes(100 * MEGABYTE)))
    made = importer.attack({"GET /login": compressed(bomb, "gzip")}, megabytes=10)
    assert made.status == "portal_changed"
    made = importer.attack({"GET /login": compressed(bomb, "gzip, gzip")}, megabytes=10)
    assert made.error == "the portal compressed its answer in a way that was not asked for (gzip, gzip)"


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "quux" * 500])
def test_compression_that_was_not_asked_for(importer: Importer, encoding: str):
    for stage in ("GET /login", "GET /bills/17.pdf"):
        made = importer.attack(ordinary_routes() | {stage: compressed(b"\x1f\x8bx" * 100, encoding)})
        assert made.status == "portal_error"
        assert made.retries == 0


@pytest.mark.parametrize("content", [b"not gzip", gzip.compress(b"")[:12] + b"\xff" * 100, gzip.compress(b"") * 50_000])
def test_compression_that_is_broken(importer: Importer, content: bytes):
    made = importer.attack({"GET /login": compressed(content, "gzip")})
    assert (made.status, made.error) == ("portal_error", "the portal's answer broke off before its end")


@pytest.mark.parametrize("stage", ["GET /login", "GET /billing"])
def test_fifty_megabytes_of_html(importer: Importer, stage: str):
    page = answer(b"<p>bill</p>" * (50 * MEGABYTE // 11))
    made = importer.attack(ordinary_routes() | {stage: page}, megabytes=40)
    assert (made.status, made.error) == ("portal_error", PAGE_TOO_LARGE)


@pytest.mark.parametrize("character", ["x", "é", "😀"])
def test_ten_megabytes_of_text(importer: Importer, character: str):
    text = (character * 50 + " ") * (9 * MEGABYTE // len((character * 50 + " ").encode()))
    made = importer.attack(
        ordinary_routes() | {"GET /billing": answer(f"<p>{text[:1000]}</p>" + f"<p>{text}")}, megabytes=160
    )
    assert made.status == "portal_changed"


ACCENTED = LOGIN_PAGE.format(visitor="v0", alert='<p role="alert">Zugang gesperrt: zu viele Versuche, größer</p>')
ENCODINGS: dict[str, Callable[[], bytes]] = {
    "bad UTF-8": lambda: answer(b"\xff\xfe\xfd<form>\xc3\x28\xa0\xa1\xe2\x28\xa1\xf0\x28\x8c\xbc"),
    "UTF-16 without its mark": lambda: answer("<p>hello</p>".encode("utf-16-le"), content_type="text/html"),
    "UTF-16 by its mark, halved": lambda: answer(b"\xff\xfe" + "<p>hello</p>".encode("utf-16-le")[:-1]),
    "lone surrogates": lambda: answer(b"\xff\xfe" + b"\x00\xd8<\x00p\x00>\x00", content_type="text/html"),
    "UTF-7": lambda: answer(b"+ADw-form method+AD0-post+AD4-", content_type="text/html; charset=utf-7"),
    "an unknown charset": lambda: answer("<p>größer", content_type="text/html; charset=klingon"),
    "a codec that is no charset": lambda: answer("<p>hello", content_type="text/html; charset=zlib"),
    "a charset with a path": lambda: answer("<p>hello", content_type="text/html; charset=../../etc/passwd"),
    "a long charset": lambda: answer("<p>hello", content_type="text/html; charset=" + "x" * 50_000),
    "null bytes": lambda: answer(b"<fo\0rm>\0\0<in\0put>" * 1000),
    "only null bytes": lambda: answer(bytes(1_000_000)),
    "control characters": lambda: answer(bytes(range(32)) * 1000),
    "no content type": lambda: answer(b"\0\1\2\3", content_type=""),
    "a content type of noise": lambda: answer("<p>hello", content_type="\xff/\xff; ;;;=;"),
    "an image": lambda: answer(b"\x89PNG\r\n\x1a\n" + bytes(1000), content_type="image/png"),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_encoding(importer: Importer, name: str):
    for stage in ("GET /login", "GET /billing"):
        made = importer.attack(ordinary_routes() | {stage: ENCODINGS[name]()})
        assert made.status == "portal_changed", made.error
        assert (made.error or "").isprintable()


@pytest.mark.parametrize(
    ("encoding", "header"),
    [("utf-16", "text/html"), ("utf-8-sig", "text/html; charset=latin-1"), ("latin-1", "text/html"),
  ("utf-8", "text/html; charset=utf-7")],
)  # fmt: skip
def test_words_are_read_in_spite_of_their_encoding(importer: Importer, encoding: str, header: str):
    routes: dict[str, Route] = ordinary_routes() | {
        "POST /login": answer(ACCENTED.encode(encoding), content_type=header),
        "GET /billing": answer("no", 401),
    }
    made = importer.attack(routes)
    assert made.status in ("needs_attention", "wrong_credentials"), made.error
    assert "größer" in (made.error or "")
