"""Portals that name things to do harm: files above their folder, devices, scripts, texts that run backwards."""

import unicodedata

import pytest

from tests.hostile.attacks import Importer
from tests.portal_server import PDF, Route, answer, ordinary_routes

NAMES = {
    "a path": "../../../../etc/cron.d/evil.pdf",
    "an absolute path": "/etc/passwd.pdf",
    "a Windows path": "..\\..\\Windows\\System32\\evil.pdf",
    "a drive": "C:evil.pdf",
    "a stream": "bill.pdf::$DATA",
    "a device": "CON.pdf",
    "a device with blanks": " nul .pdf. . ",
    "dots": "..",
    "ten kilobytes": "x" * 10_000 + ".pdf",
    "text that runs backwards": "bill\u202efdp.exe",
    "what is not seen": "bill\u200b\u2066\ufeff.pdf",
    "a script": "<script>alert(1)</script>.pdf",
    "an image": '"><img src=x onerror=alert(1)>.pdf',
    "a formula": "=HYPERLINK('http://evil.example').pdf",
    "a line break": "bill%0d%0aX-Evil: 1.pdf",
    "a null byte": "bill.exe%00.pdf",
    "a shell": "$(touch evil);`id`|x&.pdf",
    "an extension of a page": "bill.html",
    "nothing": "",
}


@pytest.mark.parametrize("name", NAMES)
def test_file_name(importer: Importer, name: str):
    quoted = NAMES[name].replace("\\", "\\\\").replace('"', '\\"')
    plain = f'attachment; filename="{quoted}"'
    extended = f"attachment; filename*=UTF-8''{NAMES[name].replace('<', '%3C')}"
    routes: dict[str, Route] = ordinary_routes() | {
        "GET /bills/17.pdf": answer(PDF + b"17", content_type="application/pdf", Content_Disposition=plain),
        "GET /bills/18.pdf": answer(PDF + b"18", content_type="application/pdf", Content_Disposition=extended),
    }
    made = importer.attack(routes)
    assert made.status == "success", made.error
    stored = [shown for _, names in made.bills for shown in names]
    assert len(stored) == 2
    for shown in stored:
        assert 0 < len(shown) <= 120
        assert not set(shown) & set('/\\:<>"|?*\0\r\n')
        assert not [char for char in shown if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn")]
        assert shown.strip(". ") == shown
        assert shown.partition(".")[0].strip().lower() not in ("con", "nul")
    # Where it is kept is told by its content alone.
    assert all(path.partition("/")[2].startswith(path[:2]) and len(path) < 80 for path in made.files)


def test_texts_of_a_bill_are_kept_in_bounds(importer: Importer):
    cells = [f"<td>1{'n' * 100_000}", "<td>2026-11-24", "<td>1,00 €", "<td>&lt;script&gt;alert(1)&lt;/script&gt;"]
    head = "<table><tr><th>Invoice number<th>Issue date<th>Amount<th>Status</tr>"
    made = importer.attack(ordinary_routes() | {"GET /billing": answer(f"{head}<tr>{''.join(cells)}</tr></table>")})
    assert made.status == "success", made.error
    assert [len(key) for key, _ in made.bills] == [100]
