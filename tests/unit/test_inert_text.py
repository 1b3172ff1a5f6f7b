"""Which texts a spreadsheet would run, and that everything else stays as it is."""

import pytest

from exports.inert_text import inert

FORMULAS = ("=1+1", "+1+1", "-1+1", "@SUM(A1)", "=cmd|'/c calc'!A1", '=HYPERLINK("x")')
FULL_WIDTH = ("＝1+1", "＋1", "－1", "＠SUM(A1)")
HIDDEN = ("  =1+1", "\u200b=1", "\ufeff=1", "\xa0+1", '"=1+1', "'=1", "\x00=1")


@pytest.mark.parametrize("text", [*FORMULAS, *FULL_WIDTH, *HIDDEN, "\tx", "\rx"])
def test_formula_gets_an_apostrophe(text: str):
    assert inert(text) == f"'{text}"


@pytest.mark.parametrize("text", ["\t=1+1", "\r=1", "\n=1", "\r\n@x"])
def test_formula_after_a_control_character_gets_one_on_both_sides(text: str):
    formula = text.lstrip()
    assert inert(text) == f"'{text.removesuffix(formula)}'{formula}"


@pytest.mark.parametrize("text", ["A;=1+1", "A;\t@x", "x\n=1+1", "x\r\n-1", "A; +1"])
def test_formula_after_a_separator_gets_one_too(text: str):
    start = next(i for i, c in enumerate(text) if c in "=@-+")
    assert inert(text) == f"{text[:start]}'{text[start:]}"


@pytest.mark.parametrize(
    "text",
    ["", "Ann", "ann@example.com", "2026-11-24", "A-17", "1=1", "a + b", "x;y", "€ 5,00", "–", "Müller & Söhne (GmbH)"],
)
def test_other_text_stays_as_it_is(text: str):
    assert inert(text) == text
