import csv
import io
import random
import zipfile

import pytest

from portal_import.accounts_csv import (
    MAX_ACCOUNTS,
    MAX_BYTES,
    MAX_COLUMNS,
    MAX_NAME_LENGTH,
    MAX_PROBLEMS,
    AccountRow,
    AccountsFile,
    InvalidAccountsFileError,
    Problem,
    read_accounts_csv,
)

HEADERLESS = "the first line looks like an account, not like column names; it should be like this: "


def read(text: str, encoding: str = "utf-8") -> AccountsFile:
    return read_accounts_csv(text.encode(encoding))


def refusal(content: str | bytes) -> InvalidAccountsFileError:
    data = content.encode() if isinstance(content, str) else content
    with pytest.raises(InvalidAccountsFileError) as caught:
        read_accounts_csv(data)
    return caught.value


def passwords(file: AccountsFile) -> list[str]:
    return [row.password for row in file.rows]


# What comes back


def test_read_returns_accounts_and_says_how_the_file_was_read():
    file = read("Username;Password;Customer ID\nann;s3cret;0042\nbob;hunter2;\n")

    assert file == AccountsFile(
        rows=(
            AccountRow(2, "ann", "s3cret", {"Customer ID": "0042"}),
            AccountRow(3, "bob", "hunter2", {"Customer ID": ""}),
        ),
        encoding="utf-8",
        delimiter=";",
        username_column="Username",
        password_column="Password",
        extra_columns=("Customer ID",),
        ignored_blank_rows=0,
    )


def test_repr_never_shows_a_password():
    file = read("username,password\nann,s3cret\n")

    assert "s3cret" not in repr(file)


# Encodings


@pytest.mark.parametrize(
    ("codec", "bom", "expected"),
    [
        ("utf-8", b"", "utf-8"),
        ("utf-8", b"\xef\xbb\xbf", "utf-8-sig"),
        ("utf-16-le", b"\xff\xfe", "utf-16"),
        ("utf-16-be", b"\xfe\xff", "utf-16"),
        ("windows-1252", b"", "windows-1252"),
    ],
)
def test_encoding_is_recognised(codec: str, bom: bytes, expected: str):
    file = read_accounts_csv(bom + "username,password\nbjörn,5€ pröve\n".encode(codec))

    assert file.encoding == expected
    assert (file.rows[0].username, file.rows[0].password) == ("björn", "5€ pröve")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"username,password\nann,\x81\n", "the file is not valid utf-8 or windows-1252 text"),
        (b"\xef\xbb\xbfusername,password\nann,\xe9\n", "the file is not valid utf-8-sig text"),
        (b"\xff\xfeu\0s", "the file is not valid utf-16 text"),
    ],
)
def test_undecodable_text_is_refused_without_keeping_the_file_in_the_error(data: bytes, message: str):
    error = refusal(data)

    assert str(error) == f'{message}; save it as "CSV UTF-8"'
    assert error.__context__ is None


# Delimiters, quotes and line ends


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiter_is_recognised(delimiter: str):
    file = read(delimiter.join(("username", "password")) + "\n" + delimiter.join(("ann", "s3cret")))

    assert file.delimiter == delimiter
    assert passwords(file) == ["s3cret"]


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [
        ('username;password;"notes, remarks, and, more"', ";"),
        ('"notes; remarks; and; more",username,password', ","),
        ('username\tpassword\t"a,b;c,d;e"', "\t"),
        ("username;password;notes, remarks, and, more", ";"),
    ],
)
def test_delimiter_inside_a_header_name_does_not_count(header: str, delimiter: str):
    assert read(f"{header}\n{delimiter.join('abc')}\n").delimiter == delimiter


def test_quoted_values_hold_line_breaks_delimiters_and_quotes():
    file = read('username,password\n"Doe, Ann","a,""b""\r\nc"\nbob,in"side\n')

    assert [(row.row_number, row.username, row.password) for row in file.rows] == [
        (2, "Doe, Ann", 'a,"b"\r\nc'),
        (3, "bob", 'in"side'),
    ]


@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r"])
def test_line_end_is_any_of_three(line_end: str):
    file = read(line_end.join(("username,password", "ann,a", "bob,b", "")))

    assert [(row.row_number, row.username, row.password) for row in file.rows] == [(2, "ann", "a"), (3, "bob", "b")]


@pytest.mark.parametrize("char", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_other_line_separators_are_part_of_a_value(char: str):
    assert passwords(read(f"username,password\nann,a{char}b\n")) == [f"a{char}b"]


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ('username,password\nann,a\nbob,"b\ncat,c\n', 3),
        ('username,password\nann,"a\nb"\nbob,"b\ncat,c\n', 3),
        ('username,"password\nann,a\n', 1),
        ('username;"password\nann;a\n', 1),
    ],
)
def test_unterminated_quote_is_refused_with_the_row_where_it_began(text: str, row: int):
    assert str(refusal(text)) == f'row {row}: a quote (") is opened in this row and never closed'


def test_endless_value_is_refused_with_its_row():
    error = refusal('username,password\nann,"' + "x" * 200_000)

    assert str(error) == 'row 2: a value has more than 131,072 characters; a quote (") may not be closed'


def test_text_after_a_closing_quote_is_refused():
    assert str(refusal('username,password\nann,"a"b\n')) == (
        "row 2: a quote is closed in the middle of a value; "
        'put the whole value in quotes and double the quotes inside it ("")'
    )


# Header names


@pytest.mark.parametrize(
    "name",
    [
        *("username", "user name", "user_name", "email", "e-mail", "mail", "user", "login", "account", "userid"),
        *("USERNAME", "  User Name  ", "E-Mail", '"login"', "User\N{NO-BREAK SPACE}name"),
    ],
)
def test_username_column_has_synonyms(name: str):
    file = read(f"{name},password\nann,a\n")

    assert file.username_column == name.strip().strip('"')
    assert (file.rows[0].username, file.extra_columns) == ("ann", ())


@pytest.mark.parametrize("name", ["password", "pass", "passwd", "pwd", "PASSWORD", " Pwd "])
def test_password_column_has_synonyms(name: str):
    file = read(f"{name},username\na,ann\n")

    assert file.password_column == name.strip()
    assert passwords(file) == ["a"]


@pytest.mark.parametrize(
    ("header", "chosen", "others"),
    [
        ("Email,Username,Password", "Username", ("Email",)),
        ("email,user,password", "user", ("email",)),
        ("account,email,login,password", "login", ("account", "email")),
        ("account,mail,email,password", "email", ("account", "mail")),
        ("username,password,login", "username", ("login",)),
    ],
)
def test_best_username_column_is_chosen_and_the_others_are_extra(header: str, chosen: str, others: tuple[str, ...]):
    file = read(f"{header}\n{','.join('x' + str(i) for i in range(header.count(',') + 1))}\n")

    assert (file.username_column, file.extra_columns) == (chosen, others)
    assert tuple(file.rows[0].extra) == others


def test_extra_column_keeps_its_name_as_typed():
    file = read('username,password," Customer ID ","Straße-Nr","two\r\nlines"\nann,a,1,2,3\n')

    assert file.rows[0].extra == {"Customer ID": "1", "Straße-Nr": "2", "two lines": "3"}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("username,password,Site,site", 'columns 3 and 4 have the same name, "Site"'),
        ("username,password,site id,Site_ID", 'columns 3 and 4 have the same name, "site id"'),
        ("e-mail,Email,password", 'columns 1 and 2 have the same name, "e-mail"'),
        ("username,password,Password", 'columns 2 and 3 have the same name, "password"'),
    ],
)
def test_columns_of_the_same_name_are_refused(header: str, message: str):
    assert str(refusal(f"{header}\n")) == f"row 1: {message}"


def test_two_password_columns_are_refused():
    error = refusal("username,password,pwd\nann,s3cret,hunter2\n")

    assert str(error) == 'row 1: more than one password column: "password" and "pwd"; keep one'


@pytest.mark.parametrize("name", ["a{b", "a}b", "zero\u200bwidth", "x" * (MAX_NAME_LENGTH + 1)])
def test_unusable_column_name_is_refused(name: str):
    assert str(refusal(f"username,password,{name}\nann,a,b\n")) == (
        "row 1: the name of column 3 holds a brace or an invisible character, or more than 100 characters"
    )


def test_unnamed_column_without_values_is_left_out():
    assert read("username,password,,\nann,a,, \n").extra_columns == ()


def test_unnamed_column_with_a_value_is_refused_without_showing_it():
    error = refusal("username,password,\nann,a,\nbob,b,s3cret\n")

    assert str(error) == "row 3: column 3 holds a value but has no name"


# Missing columns and missing headers


def test_missing_username_column_says_what_was_looked_for_and_found():
    assert str(refusal("Kunde,Password\nann,a\n")) == (
        "row 1: no username column; looked for username, user, login, email, mail, userid, account; "
        'found "Kunde", "Password"'
    )


def test_missing_password_column_says_what_was_looked_for_and_found():
    assert str(refusal("E-Mail;Kennwort;Kunden Nr.\nann;a;1\n")) == (
        'row 1: no password column; looked for password, pass, passwd, pwd; found "E-Mail", "Kennwort", "Kunden Nr."'
    )


def test_missing_column_in_a_wide_file_shows_the_first_names():
    message = str(refusal("password," + ",".join("x" * n for n in range(1, 31)) + "\n"))

    assert message.endswith(f'"{"x" * 19}", and 11 more')


@pytest.mark.parametrize(
    ("line", "example"),
    [
        ("ann@example.com,s3cret", "username,password"),
        ("ann@example.com;s3cret", "username;password"),
        ("ann@example.com\ts3cret", "username<tab>password"),
        ("ann@example.com,password", "username,password"),
        ("12345,s3cret", "username,password"),
        ("user,s3cret,12345", "username,password"),
        ("ann@example.com,s3cret,email", "username,password"),
    ],
)
def test_file_without_a_header_is_refused_without_showing_a_cell(line: str, example: str):
    error = refusal(f"{line}\nbob@example.com,hunter2\n")

    assert str(error) == f"row 1: {HEADERLESS}{example}"


def test_unknown_header_is_refused_without_showing_a_cell():
    assert str(refusal("ann,letmein\nbob,hunter\n")) == (
        "row 1: the first line names no username column and no password column; "
        "it should be like this: username,password"
    )


def test_first_line_that_may_be_an_account_is_shown_only_where_it_reads_like_a_name():
    message = str(refusal("user,hunter2\nann,letmein\n"))

    assert message.endswith('found "user", column 2')


@pytest.mark.parametrize("text", ["username\nann\n", "user|password\nann|s3cret\n", '"a,b"\n'])
def test_single_column_is_refused(text: str):
    assert str(refusal(text)) == (
        "row 1: only one column was found; username and password must be separated by a comma, a semicolon or a tab"
    )


# Values


def test_username_is_stripped_and_password_kept_exactly():
    file = read("username,password,site\n  ann b  ,  s3 cret ,  new  york \n")

    assert file.rows == (AccountRow(2, "ann b", "  s3 cret ", {"site": "new  york"}),)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (",a", 'username is empty (column "Login")'),
        ("  ,a", 'username is empty (column "Login")'),
        ("ann,", 'password is empty (column "Pwd")'),
        ("ann,   ", 'password is empty (column "Pwd")'),
    ],
)
def test_empty_value_is_refused(line: str, message: str):
    assert str(refusal(f"Login,Pwd\nzoe,z\n{line}\n")) == f"row 3: {message}"


@pytest.mark.parametrize(
    ("char", "code"),
    [("\x07", "U+0007"), ("\n", "U+000A"), ("\x7f", "U+007F"), ("\u200b", "U+200B"), ("\u202e", "U+202E")],
)
def test_invisible_character_in_a_username_is_refused(char: str, code: str):
    error = refusal(f'username,password\n"a{char}b",a\n')

    assert str(error) == f'row 2: username holds the invisible character {code} (column "username")'


@pytest.mark.parametrize("again", ["ann", "ANN", "  Ann "])
def test_duplicate_username_is_refused_with_both_rows(again: str):
    error = refusal(f"username,password\nann,a\nbob,b\n{again},c\n")

    assert str(error) == 'row 4: the same username as in row 2 (column "username")'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("username,password\nann\n", "row 2: 1 cells found, 2 expected"),
        (
            "username,password\nann,s3c,ret\n",
            'row 2: 3 cells found, 2 expected; a value that holds "," must be in quotes',
        ),
        (
            "username\tpassword\nann\ts3c\tret\n",
            "row 2: 3 cells found, 2 expected; a value that holds a tab must be in quotes",
        ),
    ],
)
def test_ragged_row_is_refused(text: str, message: str):
    assert str(refusal(text)) == message


def test_blank_rows_are_ignored_counted_and_numbered():
    file = read("\nusername,password\n\nann,a\n  \n,\nbob,b\n\n")

    assert [row.row_number for row in file.rows] == [4, 7]
    assert file.ignored_blank_rows == 5


# The file as a whole


@pytest.mark.parametrize("data", [b"", b"\n \r\n\t", b'""\n""', b"\xef\xbb\xbf", b"\xff\xfe"])
def test_empty_file_is_refused(data: bytes):
    assert str(refusal(data)) == "the file is empty"


@pytest.mark.parametrize("text", ["username,password", "username,password\n\n,\n"])
def test_file_without_accounts_is_refused(text: str):
    assert str(refusal(text)) == "the file has a header but no accounts"


def test_most_accounts_are_accepted_and_one_more_is_refused():
    lines = ["username,password", *(f"user{n},p" for n in range(MAX_ACCOUNTS + 1))]

    assert len(read("\n".join(lines[:-1])).rows) == MAX_ACCOUNTS
    assert str(refusal("\n".join(lines))) == "the file holds 10,001 accounts; at most 10,000 are accepted"


def test_too_many_columns_are_refused():
    header = "username,password" + "".join(f",c{n}" for n in range(MAX_COLUMNS - 2))

    assert len(read(f"{header}\nann,a{',' * (MAX_COLUMNS - 2)}\n").extra_columns) == MAX_COLUMNS - 2
    assert str(refusal(f"{header},more\n")) == "row 1: the file has 501 columns; at most 500 are accepted"


def test_too_many_bytes_are_refused():
    data = b"username,password\nann,a\n".ljust(MAX_BYTES, b"\n")

    assert len(read_accounts_csv(data).rows) == 1
    assert str(refusal(data + b"\n")) == "the file has 10,485,761 bytes; at most 10,485,760 are accepted"


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "application/vnd.oasis.opendocument.spreadsheet" if name == "mimetype" else "")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zipped("[Content_Types].xml", "xl/workbook.xml"), "this is an Excel workbook; save it as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "this is an Excel workbook; save it as CSV"),
        (zipped("mimetype"), "this is an OpenDocument spreadsheet; save it as CSV"),
        (zipped("accounts.csv"), "this is a zip archive; unpack it and upload the CSV file in it"),
        (b"\x1f\x8b\x08\0", "this is a gzip archive; unpack it and upload the CSV file in it"),
        (b"%PDF-1.7\n", "this is a PDF document, not a CSV file"),
        (b"\x89PNG\r\n\x1a\n", "this is an image, not a CSV file"),
        (b"\xff\xd8\xff\xe0", "this is an image, not a CSV file"),
        (b"GIF89a", "this is an image, not a CSV file"),
        (b"\n<!DOCTYPE html>", "this is a web page or an XML file, not a CSV file"),
        (
            b"username,password\nann,\0\n",
            'the file holds NUL bytes, so it is not a CSV file; save it as "CSV UTF-8"',
        ),
        (
            "username,password\n".encode("utf-16-le"),
            'the file holds NUL bytes, so it is not a CSV file; save it as "CSV UTF-8"',
        ),
    ],
)
def test_file_of_another_kind_is_refused_by_name(data: bytes, message: str):
    assert str(refusal(data)) == message


def test_header_may_begin_like_an_archive():
    assert read("PK,username,password\n1,ann,a\n").extra_columns == ("PK",)


# Problems


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem(7, "password", "password is empty"), 'row 7: password is empty (column "password")'),
        (Problem(7, None, "too long"), "row 7: too long"),
        (Problem(None, None, "the file is empty"), "the file is empty"),
    ],
)
def test_problem_reads_as_a_sentence(problem: Problem, text: str):
    assert str(problem) == text


def test_all_problems_are_reported_at_once():
    error = refusal('username,password\nann,\n,b\nbob\nANN,d\neve,"e\n')

    assert str(error).splitlines() == [
        "the accounts file has 5 problems:",
        'row 2: password is empty (column "password")',
        'row 3: username is empty (column "username")',
        "row 4: 1 cells found, 2 expected",
        'row 5: the same username as in row 2 (column "username")',
        'row 6: a quote (") is opened in this row and never closed',
    ]
    assert [problem.row for problem in error.problems] == [2, 3, 4, 5, 6]


def test_problems_beyond_the_first_fifty_are_only_counted():
    error = refusal("username,password\n" + "".join(f"user{n},\n" for n in range(1200)))

    assert (len(error.problems), error.omitted) == (MAX_PROBLEMS, 1150)
    assert str(error).startswith("the accounts file has 1,200 problems:\nrow 2: ")
    assert str(error).endswith("\n… and 1,150 more")


@pytest.mark.parametrize(
    "text",
    [
        "S3CRET,username\n",
        "ann@example.com,S3CRET\n",
        "user,S3CRET\n",
        "user,S3CRET,S3CRET\n",
        "S3CRET\n",
        "username,password\nann,S3CRET\nann,S3CRET\n",
        "username,password\n,S3CRET\n",
        "username,password\nann,S3CRET,\n",
        'username,password\nann,"S3CRET\n',
        'username,password\nann,"S3CRET"x\n',
        "username,password\nann,S3CRET\0\n",
    ],
)
def test_no_error_shows_a_password(text: str):
    error = refusal(text)

    assert "S3CRET" not in str(error)
    assert "S3CRET" not in repr(error)


# Everything that the csv module writes comes back

PLAIN = "abcXYZ019 ,;\t\"'\\|=+-@{}%<>"
ALPHABETS = {
    "utf-8": PLAIN + "\r\néß€Ω漢字😀\u2028\x85",
    "utf-8-sig": PLAIN + "\r\néß€Ω漢字😀\u2028\x85",
    "utf-16": PLAIN + "\r\néß€Ω漢字😀\u2028\x85",
    "windows-1252": PLAIN + "\r\néß€ñŽ",
}


def random_accounts(rng: random.Random, alphabet: str) -> dict[str, tuple[str, str]]:
    """Password and note by username; each username and password holds something visible."""
    in_line = "".join(char for char in alphabet if char.isprintable())

    def text(chars: str, most: int) -> str:
        return "".join(rng.choices(chars, k=rng.randrange(most)))

    return {
        f"{n}{text(in_line, 12)}.": (f"{text(alphabet, 20)}x{text(alphabet, 20)}", text(in_line, 8).strip())
        for n in range(rng.randrange(1, 30))
    }


@pytest.mark.parametrize("encoding", list(ALPHABETS))
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("seed", range(20))
def test_accounts_survive_a_round_trip(seed: int, delimiter: str, encoding: str):
    rng = random.Random(seed)
    accounts = random_accounts(rng, ALPHABETS[encoding])
    text = io.StringIO(newline="")
    if rng.random() < 0.5:
        writer = csv.writer(text, delimiter=delimiter)
    else:
        line_end = rng.choice(["\r\n", "\n", "\r"])
        writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator=line_end)
    writer.writerow(["Username", "Password", "note, or; remark\té"])
    writer.writerows([username, password, note] for username, (password, note) in accounts.items())

    file = read(text.getvalue(), encoding)

    assert {row.username: (row.password, *row.extra.values()) for row in file.rows} == accounts
    assert [row.row_number for row in file.rows] == list(range(2, len(accounts) + 2))
    assert (file.delimiter, file.encoding) == (delimiter, encoding)
