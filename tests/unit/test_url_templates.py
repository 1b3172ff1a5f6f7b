import pytest

from portal_import.url_templates import (
    MAX_URL_LENGTH,
    InvalidUrlError,
    check_url,
    fill_url,
    portal_host,
    template_fields,
)

COLUMNS = ("Customer ID", "site")


def refusal(template: str) -> str:
    with pytest.raises(InvalidUrlError) as caught:
        check_url(template, COLUMNS, name="billing URL")
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        ("https://p.example/bills", set[str]()),
        ("https://p.example/{username}?c={Customer ID}&again={username}", {"username", "Customer ID"}),
        ("https://p.example/{ site }", {"site"}),
    ],
)
def test_fields_are_the_names_in_braces(url: str, fields: set[str]):
    assert template_fields(url) == fields


@pytest.mark.parametrize(
    "url",
    [
        "https://p.example/login",
        "http://localhost:8000/{username}/bills?c={Customer ID}#{site}",
        "HTTPS://P.Example/{ username }",
        "  https://p.example/  ",
        "https://[::1]:8443/",
        "https://münchen.example/",
        "https://p.example",
        "https://p.example?c={site}",
        "https://p.example/@bob",
        "https://p.example/".ljust(MAX_URL_LENGTH, "x"),
    ],
)
def test_usable_url_passes(url: str):
    check_url(url, COLUMNS)


@pytest.mark.parametrize(
    "url", ["ftp://x", "file:///etc/passwd", "javascript:alert(1)", "p.example/{site}", "//p.example/"]
)
def test_scheme_other_than_http_is_refused(url: str):
    assert refusal(url) == f'billing URL "{url}": only http:// and https:// addresses work'


@pytest.mark.parametrize("url", ["http://", "https:///bills", "https://:8080/", "https://?q"])
def test_url_without_a_host_is_refused(url: str):
    assert refusal(url) == f'billing URL "{url}": it has no host'


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://a..b/", "its host is not valid"),
        ("https://-a.example/", "its host is not valid"),
        ("https://ex%61mple.com/", "its host is not valid"),
        ("https://[::zz]/", "its host is not valid"),
        ("https://\N{SNOWMAN}\N{COMBINING ACUTE ACCENT}.example/", "its host is not valid"),
        ("https://a.example:http/", "its host or port is not valid"),
        ("https://a.example:1:2/", "its host or port is not valid"),
        ("https://a.example:0/", "its port is not between 1 and 65535"),
        ("https://a.example:65536/", "its port is not between 1 and 65535"),
    ],
)
def test_malformed_host_or_port_is_refused(url: str, reason: str):
    assert refusal(url) == f'billing URL "{url}": {reason}'


@pytest.mark.parametrize("url", ["", "   "])
def test_empty_url_is_refused(url: str):
    assert refusal(url) == "billing URL is empty"


def test_unknown_placeholder_is_refused_with_those_that_exist():
    assert refusal("https://p.example/{customer}") == (
        'billing URL "https://p.example/{customer}": unknown placeholder {customer}; '
        "these work: {username}, {Customer ID}, {site}"
    )


@pytest.mark.parametrize("field", ["password", "Password", "pwd", " pass "])
def test_password_placeholder_is_refused_even_when_a_column_has_its_name(field: str):
    with pytest.raises(InvalidUrlError, match="a password never goes into a URL"):
        check_url(f"https://p.example/{{{field}}}", [field.strip()])


@pytest.mark.parametrize(
    "url",
    [
        "https://{site}.example/",
        "https://{site}",
        "https://p.example{site}",
        "https://p.example:{site}/",
        "https://{site}@p.example/",
        "{site}://p.example/",
        "http{site}://p.example/",
        "{site}/bills",
        "https://{a/b}.example/",
    ],
)
def test_placeholder_before_the_path_is_refused(url: str):
    assert refusal(url).endswith("placeholders work only after the host, not in it")


@pytest.mark.parametrize(
    "url", ["https://p.example/{username", "https://p.example/username}", "https://p.example/{{a}"]
)
def test_unpaired_brace_is_refused(url: str):
    assert refusal(url) == f'billing URL "{url}": every {{ needs its }} and the other way round'
    with pytest.raises(InvalidUrlError):
        template_fields(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://bob:S3CRET@p.example/",
        "https://S3CRET@p.example/",
        "https://bob:S3C/S3CRET@p.example/",
        "ftp://bob:S3CRET@p.example/",
        "bob:S3CRET@p.example",
        "https://bob:S3CRET@p.example/a b",
        "https://@p.example/",
    ],
)
def test_credentials_in_a_url_are_refused_and_not_shown(url: str):
    assert "S3C" not in refusal(url)


def test_credentials_in_a_url_are_named_as_the_reason():
    assert refusal("https://bob:x@p.example/") == (
        'billing URL "https://…@p.example/": a user name or password before the host is not accepted'
    )


@pytest.mark.parametrize("char", [" ", "\n", "\t", "\0", "\x7f", "\u00a0", "\u200b", "\\"])
def test_blank_backslash_or_control_character_inside_is_refused(char: str):
    message = refusal(f"https://p.example/a{char}b")

    assert message.endswith("blanks, backslashes and control characters are not accepted")
    assert message.replace(" ", "").isprintable()


def test_too_long_url_is_refused_and_shown_in_part():
    message = refusal("https://p.example/".ljust(MAX_URL_LENGTH + 1, "x"))

    assert message.endswith('x…": it has 2,001 characters; at most 2,000 are accepted')
    assert len(message) < 250


def test_message_calls_the_url_by_the_given_name():
    with pytest.raises(InvalidUrlError, match=r'^URL "ftp://x": '):
        check_url("ftp://x", ())


def test_filled_values_are_quoted_whole():
    template = " https://p.example/{username}/{ site }?c={Customer ID}&again={site} "

    url = fill_url(template, "ann+b@x.org", {"Customer ID": "a/b?c#d&e=%20", "site": "Köln ü{username}"})

    assert url == (
        "https://p.example/ann%2Bb%40x.org/K%C3%B6ln%20%C3%BC%7Busername%7D"
        "?c=a%2Fb%3Fc%23d%26e%3D%2520&again=K%C3%B6ln%20%C3%BC%7Busername%7D"
    )


@pytest.mark.parametrize(
    "value", ["../../admin", "//evil.example/", "@evil.example", "\\evil.example", "?", "#", "\r\nHost: x"]
)
def test_filled_value_never_changes_host_or_path_depth(value: str):
    url = fill_url("https://p.example/{username}/bills", value, {})

    assert portal_host(url) == "p.example"
    assert url.count("/") == 4


@pytest.mark.parametrize("value", [".", ".."])
def test_value_that_addresses_another_folder_is_refused(value: str):
    with pytest.raises(InvalidUrlError, match=r'the value of \{username\} is "\.+"$'):
        fill_url("https://p.example/{username}/bills", value, {})


def test_fill_refuses_what_check_refuses():
    with pytest.raises(InvalidUrlError, match=r"unknown placeholder \{nope\}; these work: \{username\}, \{site\}$"):
        fill_url("https://p.example/{nope}", "ann", {"site": "x"})


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Portal.Example/Login", "portal.example"),
        ("https://portal.example:443/", "portal.example"),
        ("http://portal.example:80/", "portal.example"),
        ("http://portal.example:443/", "portal.example:443"),
        ("https://portal.example:8443/{username}", "portal.example:8443"),
        ("https://portal.example:/", "portal.example"),
        ("https://portal.example./", "portal.example"),
        ("https://MÜNCHEN.example/", "xn--mnchen-3ya.example"),
        ("https://straße.example/", "xn--strae-oqa.example"),
        ("https://my_portal.internal/", "my_portal.internal"),
        ("http://127.0.0.1:8000/", "127.0.0.1:8000"),
        ("https://[0:0:0:0:0:0:0:1]:8443/", "[::1]:8443"),
    ],
)
def test_portal_host_is_normalised(url: str, host: str):
    assert portal_host(url) == host


@pytest.mark.parametrize("url", ["", "portal.example", "https://a:b@portal.example/", "https://{site}.example/"])
def test_portal_host_refuses_a_url_without_a_plain_host(url: str):
    with pytest.raises(InvalidUrlError):
        portal_host(url)
