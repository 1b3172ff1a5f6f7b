from urllib.parse import parse_qsl

import pytest

from db.models import ResultStatus
from portal_import.engine.errors import VisitError
from portal_import.engine.form_filling import fill_sign_in_form
from portal_import.engine.forms import find_sign_in_form, has_sign_in_form
from portal_import.engine.page import Page, decode_page
from portal_import.engine.stepwise_forms import find_password_form, find_username_form
from portal_import.engine.submission import Submission
from portal_import.outcomes import AccountLogin, PortalProfile

URL = "https://portal.example/account/login"
LOGIN = AccountLogin("ann", "s3cret pâss", URL, "https://portal.example/billing")


def make_page(html: str, url: str = URL, encoding: str = "utf-8") -> Page:
    return decode_page(url, 200, f"text/html; charset={encoding}", html.encode(encoding))


def submit(html: str, profile: PortalProfile = PortalProfile(), **page: str) -> Submission:  # noqa: B008 (frozen)
    return fill_sign_in_form(find_sign_in_form(make_page(html, **page), profile), LOGIN, profile.submit_selector)


def sent(html: str, profile: PortalProfile = PortalProfile(), **page: str) -> list[tuple[str, str]]:  # noqa: B008
    return parse_qsl(submit(html, profile, **page).body.decode(), keep_blank_values=True)


def refusal(html: str, profile: PortalProfile = PortalProfile(), **page: str) -> str:  # noqa: B008 (frozen)
    with pytest.raises(VisitError) as caught:
        submit(html, profile, **page)
    assert caught.value.status is ResultStatus.PORTAL_CHANGED
    assert LOGIN.password not in str(caught.value)
    return str(caught.value)


def form(inner: str, attributes: str = 'method="post"') -> str:
    return f"<form {attributes}>{inner}</form>"


PASSWORD = '<input type="password" name="p">'
BOTH = f'<input name="u">{PASSWORD}'


# What is sent


def test_form_sends_every_control_in_document_order():
    html = form(
        """<input type="hidden" name="csrf" value="t&amp;1"><input name="user"><input type="password" name="pw">
        <input type="checkbox" name="remember"><input type="checkbox" name="ok" checked>
        <input type="radio" name="r" value="1"><input type="radio" name="r" value="2" checked>
        <select name="lang"><option value="de">D<option value="en" selected>E</select>
        <select name="first"><option disabled>x</option><option>One  two</option></select>
        <textarea name="note">a
b</textarea><input name="off" disabled value="x"><fieldset disabled><input name="off2" value="x"></fieldset>
        <input value="nameless"><input type="file" name="doc"><button name="go" value="in">Sign in</button>
        <button name="other" value="out">Register</button><input type="hidden" name="last" value="">"""
    )
    assert sent(html) == [
        ("csrf", "t&1"), ("user", "ann"), ("pw", "s3cret pâss"), ("ok", "on"), ("r", "2"), ("lang", "en"),
        ("first", "One two"), ("note", "a\r\nb"), ("doc", ""), ("go", "in"), ("last", ""),
    ]  # fmt: skip


def test_form_includes_controls_elsewhere_that_name_it():
    html = f"""<input type="hidden" name="early" value="1" form="f">
    {form('<input name="user">' + PASSWORD + '<input name="foreign" form="g">', 'id="f" method="post"')}
    <form id="g"></form><button form="f" name="b" value="2">Log in</button>"""
    assert sent(html) == [("early", "1"), ("user", "ann"), ("p", "s3cret pâss"), ("b", "2")]


def test_form_prefers_the_button_that_speaks_of_signing_in():
    buttons = '<button name="b" value="forgot">Forgot password</button><button name="b" value="in">Log in</button>'
    assert sent(form(BOTH + buttons))[-1] == ("b", "in")


def test_form_sends_coordinates_of_an_image_button():
    assert sent(form(BOTH + '<input type="image" name="go" alt="x">'))[2:] == [("go.x", "0"), ("go.y", "0")]


def test_form_speaks_the_encoding_of_its_page():
    assert b"s3cret+p%E2ss" in submit(form(BOTH), encoding="iso-8859-1").body
    assert b"s3cret+p%C3%A2ss" in submit(form(BOTH, 'method=post accept-charset="UTF-8"'), encoding="iso-8859-1").body


def test_form_in_multipart_is_sent_as_parts():
    html = form(
        f'<input type="hidden" name="a&quot;b" value="1">{BOTH}<input type="file" name="doc">',
        'method=post enctype="multipart/form-data"',
    )
    made = submit(html)
    boundary = made.content_type.partition("boundary=")[2]
    parts = made.body.decode().split(f"--{boundary}")
    assert parts[-1] == "--\r\n"
    assert parts[1] == '\r\nContent-Disposition: form-data; name="a%22b"\r\n\r\n1\r\n'
    assert parts[3] == '\r\nContent-Disposition: form-data; name="p"\r\n\r\ns3cret pâss\r\n'
    assert 'filename=""\r\nContent-Type: application/octet-stream\r\n\r\n\r\n' in parts[4]


def test_submission_repr_never_shows_the_password():
    assert "s3cret" not in repr(submit(form(BOTH)))
    assert "s3cret" not in repr(LOGIN)


# Where it is sent


@pytest.mark.parametrize(
    ("head", "action", "url"),
    [
        ("", "", URL),
        ("", "/do", "https://portal.example/do"),
        ("", "do?x=1#top", "https://portal.example/account/do?x=1"),
        ('<base href="/base/">', "do", "https://portal.example/base/do"),
        ('<base href="/base/">', "", URL),
        ("", "https://portal.example:443/do", "https://portal.example:443/do"),
    ],
)
def test_form_target_follows_action_and_base(head: str, action: str, url: str):
    assert submit(head + form(BOTH, f'method="POST" action="{action}"')).url == url


def test_form_target_follows_the_button_that_is_pressed():
    assert submit(form(BOTH + '<button formaction="/b">Log in</button>')).url == "https://portal.example/b"


@pytest.mark.parametrize(
    "action",
    [
        "https://evil.example/login",
        "http://portal.example/login",
        "https://portal.example:8443/login",
        "//evil.example/",
        "https://portal.example@evil.example/",
        "https://sub.portal.example/",
    ],
)
def test_form_of_another_origin_is_refused(action: str):
    assert "another site" in refusal(form(BOTH, f'method="post" action="{action}"'))


def test_form_of_another_origin_by_base_or_button_is_refused():
    assert "another site" in refusal('<base href="https://evil.example/">' + form(BOTH, "method=post action=login"))
    assert "another site" in refusal(form(BOTH + '<button formaction="https://evil.example/">Log in</button>'))


@pytest.mark.parametrize("attributes", ['method="get" action="/do?old=1#x"', 'action="/do"', 'method=odd action="/do"'])
def test_form_sent_by_get_takes_the_place_of_the_query(attributes: str):
    made = submit(form(BOTH, attributes))
    assert (made.method, made.body) == ("GET", None)
    assert made.url == "https://portal.example/do?u=ann&p=s3cret+p%C3%A2ss"
    assert "s3cret" not in repr(made)


def test_button_decides_how_the_form_is_sent():
    assert submit(form(BOTH + "<button formmethod=get>Log in</button>")).method == "GET"
    assert submit(form(BOTH + "<button formmethod=post>Log in</button>", "")).method == "POST"


@pytest.mark.parametrize("attributes", ["", "method=dialog", 'id="login" onsubmit="send()"'])
def test_form_that_only_a_script_can_send_is_refused(attributes: str):
    assert "sent by a script; this portal may need the browser engine" in refusal(form(BOTH, attributes))


def test_form_of_another_origin_by_get_is_refused():
    assert "another site" in refusal(form(BOTH, 'method=get action="https://evil.example/"'))


def test_form_sent_by_a_script_needs_a_browser():
    assert "browser engine" in refusal(form(BOTH, 'method="post" action="javascript:send()"'))


# Which form and which fields


@pytest.mark.parametrize(
    "html",
    [
        "<p>Loading…</p>",
        "",
        '<div id="root"></div><script>render("<form><input type=password></form>")</script>',
        BOTH,
    ],
)
def test_page_without_sign_in_form_hints_at_the_browser_engine(html: str):
    assert refusal(html).startswith(f"no sign-in form found at {URL}")
    assert "this portal may need the browser engine" in refusal(html)


def test_page_with_only_a_registration_form_says_so():
    assert "two or more password fields" in refusal(form(BOTH + '<input type="password" name="again">'))


def test_sign_in_form_is_chosen_among_several():
    search = '<form action="/search"><input name="q"></form>'
    register = form(f'<input name="reg_email">{PASSWORD}<button>Create account</button>', 'method="post" action="/new"')
    change = form(PASSWORD + PASSWORD, 'method="post" action="/change"')
    login = form(f'<input name="user">{PASSWORD}<button>Continue</button>', 'method="post" action="/session"')
    assert submit(search + register + change + login).url == "https://portal.example/session"


@pytest.mark.parametrize(
    ("inner", "name"),
    [
        ('<input name="user"><input name="a" autocomplete="section-x username">' + PASSWORD, "a"),
        ('<input name="x"><input name="b" type="email"><input name="y">' + PASSWORD, "b"),
        ('<input name="q"><input name="login_id"><input name="branch">' + PASSWORD, "login_id"),
        ('<input name="q"><input name="Kundennummer">' + PASSWORD, "Kundennummer"),
        ('<input name="x1">' + PASSWORD + '<input name="x2">', "x1"),
        ('<input name="x1">' + PASSWORD + '<input name="email">', "email"),
        ('<input type="tel" name="phone">' + PASSWORD, "phone"),
        ('<input name="user" style="display: none"><input name="c">' + PASSWORD, "c"),
        ('<div hidden><input name="email"></div><input name="c">' + PASSWORD, "c"),
    ],
)
def test_username_field_is_found(inner: str, name: str):
    assert (name, "ann") in sent(form(inner))


def test_username_field_that_is_unclear_is_refused():
    message = refusal(form('<input name="one"><input name="two">' + PASSWORD))
    assert '"one", "two"' in message
    assert "selector" in message


def test_form_without_username_field_is_refused():
    assert "no field for the username" in refusal(form(PASSWORD))


def test_hidden_decoy_passwords_do_not_count():
    inner = f'<input name="u"><input type="password" name="trap" style="display:none">{PASSWORD}'
    assert sent(form(inner)) == [("u", "ann"), ("trap", ""), ("p", "s3cret pâss")]


def test_selectors_override_what_would_be_found():
    inner = f'<input name="email"><input id="real">{PASSWORD}<input type="text" name="secret" class="pw">'
    html = form(inner.replace('id="real"', 'id="real" name="real"'))
    profile = PortalProfile(username_selector="#real", password_selector="form input.pw")
    assert sent(html, profile) == [("email", ""), ("real", "ann"), ("p", ""), ("secret", "s3cret pâss")]


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        (PortalProfile(username_selector="#none"), 'the username selector "#none" finds no input field'),
        (PortalProfile(password_selector="form"), 'the password selector "form" finds no input field'),
        (PortalProfile(password_selector="a[["), 'the selector "a[[" set for this portal is not valid CSS'),
        (PortalProfile(username_selector="#outside"), "not in the form of the password field"),
    ],
)
def test_selectors_that_do_not_fit_are_explained(profile: PortalProfile, words: str):
    assert words in refusal('<input id="outside">' + form(BOTH), profile)


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (form(BOTH), True),
        (PASSWORD, True),
        (form(PASSWORD + PASSWORD + PASSWORD), False),
        (f"<div hidden>{form(BOTH)}</div>", False),
        ("<p>bills</p>", False),
    ],
)
def test_page_that_asks_for_a_password_is_told_from_one_to_change_it(html: str, expected: bool):
    assert has_sign_in_form(make_page(html)) is expected


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/html; charset=iso-8859-1", "é€".encode("cp1252"), "é€"),
        ("text/html", '<meta charset="iso-8859-2">ł'.encode("iso-8859-2"), "ł"),
        ("text/html", b"\xef\xbb\xbf" + "é".encode(), "é"),
        ("text/html; charset=utf-8", b"\xff\xfe" + "é".encode("utf-16-le"), "é"),
        ("text/html; charset=no-such", "é".encode(), "é"),
        ("text/html; charset=rot13", "é".encode(), "é"),
        ("text/html; charset=base64", "é".encode(), "é"),
        ("text/html; charset=shift_jis", "請求書".encode("shift_jis"), "請求書"),
        ("text/html", b"caf\xe9 br\xfbl\xe9", "café brûlé"),
        ("", b"\x00\x01\xff", None),
    ],
)
def test_page_text_is_decoded(content_type: str, body: bytes, text: str | None):
    page = decode_page(URL, 200, content_type, body)
    assert text is None or page.text.endswith(text)
    assert page.seen_text is not None


# Which button is pressed


def test_submit_selector_decides_which_button_is_pressed():
    buttons = '<button name="b" value="in">Log in</button><input type="submit" name="b" value="go" id="go">'
    assert sent(form(BOTH + buttons), PortalProfile(submit_selector="#go"))[-1] == ("b", "go")


@pytest.mark.parametrize("selector", ["#none", "input", "#outside"])
def test_submit_selector_that_finds_no_button_of_the_form_is_refused(selector: str):
    html = form(BOTH + "<button>Log in</button>") + '<button id="outside">Log in</button>'
    assert f'the submit selector "{selector}" finds no button' in refusal(html, PortalProfile(submit_selector=selector))


# Two steps


def find_first(html: str, profile: PortalProfile = PortalProfile()) -> str | None:  # noqa: B008 (frozen)
    found = find_username_form(make_page(html), profile)
    return found and found.username.get("name")


@pytest.mark.parametrize(
    "html",
    [
        form('<input name="q" autocomplete="username"><button>OK</button>'),
        form('<input name="q" type="email"><button>Sign in</button>'),
        form('<input name="q"><button>Next</button>', 'action="/login/identifier" method=post'),
        "<h1>Sign in</h1>" + form('<input name="q" id="customer"><button>Continue</button>'),
        "<title>Anmelden</title>" + form('<input name="q"><input type="submit" value="Weiter">'),
        form("<input type=search name=s><button>Search</button>", 'role="search"')
        + form('<input name="q" id="email"><button>Log in</button>'),
    ],
)
def test_first_step_is_found(html: str):
    assert find_first(html) == "q"


@pytest.mark.parametrize(
    "html",
    [
        form('<input name="q" type="email"><button>Subscribe</button>', 'action="/newsletter" method=post'),
        form('<input name="q"><button>Search</button>', 'action="/login/help" role="search"'),
        "<h1>Sign in</h1>" + form('<input name="q" type="email"><button>Send me a link to reset it</button>'),
        form('<input name="q" type="email"><button>Create account</button>'),
        form('<input name="q"><button>Go</button>'),
        "<h1>Sign in</h1>" + form('<input name="q"><button>Go</button>'),
        form('<input name="q" autocomplete="username"><input type="password" hidden name="p"><button>Next</button>'),
        form('<input name="a"><input name="b"><input name="c"><button>Log in</button>'),
        form('<input name="a"><input name="b"><button>Log in</button>'),
        '<input name="q" autocomplete="username">',
    ],
)
def test_form_for_something_else_is_no_first_step(html: str):
    assert find_first(html) is None


def test_username_selector_picks_the_first_step():
    html = form('<input name="q" id="who"><button>Go</button>')
    assert find_first(html, PortalProfile(username_selector="#who")) == "q"
    assert find_first(html, PortalProfile(username_selector="#none")) is None


@pytest.mark.parametrize(
    ("inner", "username"),
    [
        (PASSWORD, None),
        ('<input type="hidden" name="u" value="ann">' + PASSWORD, None),
        ('<input name="u" value="ann" autocomplete="username">' + PASSWORD, "u"),
        ('<input name="a"><input name="b">' + PASSWORD, None),
    ],
)
def test_second_step_asks_for_the_password_and_perhaps_again_for_the_username(inner: str, username: str | None):
    found = find_password_form(make_page(form(inner)), PortalProfile())
    assert found.password.get("name") == "p"
    assert (found.username is not None and found.username.get("name")) == (username or False)


def test_form_with_the_current_password_is_preferred():
    html = form('<input name="u"><input type="password" name="p">', "method=post action=/a") + form(
        '<input name="u"><input type="password" name="p" autocomplete="current-password">', "method=post action=/b"
    )
    assert submit(html).url == "https://portal.example/b"
