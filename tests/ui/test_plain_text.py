"""Text from outside keeps its words and loses its Markdown meaning; that it makes no links, the browser tests see."""

import pytest

from ui.plain_text import code, plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Water bills, 3rd floor", "Water bills, 3rd floor"),
        ("*a* [b](c) :red[d]", r"\*a\* \[b\]\(c\) \:red\[d\]"),
        ("http://a", r"http:small[]\://a"),
        ("HTTPS://a.b", r"HTTPS:small[]\://a\.b"),
        ("WWW.a", r"WWW:small[]\.a"),
        ("a@b", "a:small[]@b"),
        ("@", ":small[]@"),
        ("www and http", "www and http"),
    ],
)
def test_text_has_no_meaning(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_code_stays_inside() -> None:
    assert code("a`b") == "`a%60b`"
