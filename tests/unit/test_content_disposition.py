import pytest

from portal_import.engine.file_names import (
    MAX_NAME_LENGTH,
    choose_file_name,
    extension_of,
    parse_disposition,
    sanitise_name,
    type_for,
)

URL = "https://portal.example/bills/Rechnung%20M%C3%A4rz.pdf?token=1"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="bill 1.pdf"', "bill 1.pdf"),
        ("attachment; filename=bill.pdf", "bill.pdf"),
        ("inline;FILENAME = bill.pdf ; size=3", "bill.pdf"),
        ('filename="bill.pdf"', "bill.pdf"),
        (r'attachment; filename="a \"b\" \\ c.pdf"', 'a "b" \\ c.pdf'),
        ('attachment; filename="a; filename=b.pdf"', "a; filename=b.pdf"),
        ("attachment; filename=\"x.pdf\"; filename*=UTF-8''Rechnung%20M%C3%A4rz.pdf", "Rechnung März.pdf"),
        ("attachment; filename*=iso-8859-1'de'M%E4rz.pdf; filename=x.pdf", "März.pdf"),
        ("attachment; filename*=no-such''a.pdf; filename=x.pdf", "x.pdf"),
        ("attachment; filename*=UTF-8''%FF.pdf; filename=x.pdf", "x.pdf"),
        ("attachment; filename*=garbage; filename=x.pdf", "x.pdf"),
        ('attachment; filename="März.pdf"', "März.pdf"),
        ('attachment; filename="M\udce4rz.pdf"', "März.pdf"),
        ('attachment; filename="=?UTF-8?B?TcOkcnoucGRm?="', "März.pdf"),
        ("attachment", None),
        ("", None),
        ('attachment; filename=""', None),
        ('attachment; filename="unclosed.pdf', None),
    ],
)
def test_disposition_is_parsed(header: str, name: str | None):
    assert parse_disposition(header) == name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/abs/bill.pdf", "bill.pdf"),
        ("..", ""),
        (".bashrc", "bashrc"),
        ("a\x00b\r\n\tc.pdf", "abc.pdf"),
        ("bill\u202efdp.exe", "billfdp.exe"),
        ('a<b>:"c|?*.pdf', "a_b_c_.pdf"),
        ("CON.pdf", "_CON.pdf"),
        ("Ma\u0308rz.pdf", "März.pdf"),
        ("bill.pdf. . ", "bill.pdf"),
        ("\udcff.pdf", "pdf"),
    ],
)
def test_name_is_made_safe(given: str, name: str):
    assert sanitise_name(given) == name


def test_long_name_keeps_its_extension():
    name = sanitise_name("x" * 500 + ".pdf")
    assert len(name) == MAX_NAME_LENGTH
    assert name.endswith("x.pdf")


def test_file_name_comes_from_header_then_hint_then_url():
    assert choose_file_name('attachment; filename="a.csv"', URL, "text/csv", hint="b.csv") == "a.csv"
    assert choose_file_name("inline", URL, "application/pdf", hint="b.pdf") == "b.pdf"
    assert choose_file_name(None, URL, "application/pdf") == "Rechnung März.pdf"
    assert choose_file_name(None, "https://portal.example/bills/?id=1", "application/pdf") == "bills.pdf"
    assert choose_file_name(None, "https://portal.example/", "") == "document"


@pytest.mark.parametrize(
    ("path", "content_type", "name"),
    [
        ("/get", "application/pdf", "get.pdf"),
        ("/invoice.2026", "text/csv", "invoice.2026.csv"),
        ("/get", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "get.xlsx"),
        ("/get", "application/octet-stream", "get"),
        ("/get.xml", "application/octet-stream", "get.xml"),
        ("/..%2F..%2Fx.pdf", "application/pdf", "x.pdf"),
    ],
)
def test_file_name_gets_an_extension_from_its_type(path: str, content_type: str, name: str):
    assert choose_file_name(None, f"https://portal.example{path}", content_type) == name


def test_extension_and_type_of_a_name():
    assert [extension_of(name) for name in ("a.PDF", "a", "a.b c", "a.verylongext")] == ["pdf", "bin", "bin", "bin"]
    assert [type_for(name) for name in ("a.pdf", "a.csv", "a.zzz")] == [
        "application/pdf", "text/csv", "application/octet-stream",
    ]  # fmt: skip
