"""Users of an earlier system: each gets a username to sign in with, a name and a role."""

from sqlalchemy import Connection, text

from migrations.adoption.old_tables import OldTables

BLANKS = " \t\r\n"


def fill_users(connection: Connection, old: OldTables) -> None:
    """Usernames come from e-mail addresses, names from what stands before the @; the e-mail stays as it is."""
    _fill_usernames(connection)
    connection.execute(
        text(
            "UPDATE users SET name = coalesce(nullif(btrim(name, :blanks), ''),"
            " nullif(split_part(btrim(email, :blanks), '@', 1), ''), username)"
        ),
        {"blanks": BLANKS},
    )
    connection.execute(text(f"UPDATE users SET role = {_role(old)}, is_active = coalesce(is_active, true)"))  # noqa: S608


def _role(old: OldTables) -> str:
    is_admin = old["users"].columns.get("is_admin")
    known = "CASE WHEN lower(btrim(role)) IN ('admin', 'operator', 'viewer') THEN lower(btrim(role)) END"
    admin = "CASE WHEN is_admin THEN 'admin' END" if is_admin is not None and is_admin.kind == "bool" else "NULL"
    own = known if "role" in old["users"].columns else "NULL"
    return f"coalesce({admin}, {own}, 'operator')"


def _fill_usernames(connection: Connection) -> None:
    """The oldest user of an address keeps it as username; the others get a number after it."""
    rows = connection.execute(
        text(
            "SELECT id, wanted, lower(wanted) AS folded FROM (SELECT id, created_at,"
            " coalesce(nullif(btrim(username, :blanks), ''), btrim(email, :blanks)) AS wanted FROM users) u"
            " ORDER BY created_at, id"
        ),
        {"blanks": BLANKS},
    ).all()
    taken = {row.folded for row in rows}
    given: set[str] = set()
    updates: list[dict[str, str]] = []
    for row in rows:
        suffix = ""
        if row.folded in given:
            number = 2
            while f"{row.folded}{number}" in taken:
                number += 1
            suffix = str(number)
        folded = f"{row.folded}{suffix}"
        given.add(folded)
        taken.add(folded)
        updates.append({"id": row.id, "username": f"{row.wanted}{suffix}"})
    if updates:
        connection.execute(text("UPDATE users SET username = :username WHERE id = :id"), updates)
