"""Replacing a job's accounts over the API."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, select

from db.encryption import SecretBox
from db.engine import transaction
from db.models import Account, AccountStatus, Job, JobStatus, Role
from tests.api.conftest import SECRET_KEY
from tests.api.portal_story import Person, post_job

COUNTS = {"added": 1, "changed": 1, "changed_password": 1, "removed": 1, "unchanged": 0}
NEW_CSV = "username,password,branch\nann@example.com,another,n1\nnew@example.com,fresh,n2\n"


def put_accounts(person: Person, job_id: str, csv: str, **fields: str) -> Any:
    return person.client.put(
        f"/jobs/{job_id}/accounts", files={"csv": ("accounts.csv", csv.encode(), "text/csv")}, data=fields
    )


def preview(person: Person, job_id: str, csv: str) -> Any:
    return person.client.post(
        f"/jobs/{job_id}/accounts/preview", files={"csv": ("accounts.csv", csv.encode(), "text/csv")}
    )


def stored(engine: Engine, job_id: str) -> dict[str, str]:
    box = SecretBox((SECRET_KEY,))
    with transaction(engine) as session:
        accounts = session.scalars(select(Account).where(Account.session_id == job_id))
        return {a.username: box.decrypt(a.secret) for a in accounts}


def make_job_with(person: Person, csv: str, **changes: str | None) -> str:
    answer = post_job(person, csv=csv, **changes)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def test_accounts_are_replaced_and_counted(engine: Engine, olive: Person) -> None:
    job_id = make_job_with(
        olive,
        "username,password,branch\nann@example.com,old,n1\ngone@example.com,x,n3\n",
        billing_url="https://p.example/{branch}",
    )
    answer = put_accounts(olive, job_id, NEW_CSV)
    assert (answer.status_code, answer.json()) == (200, COUNTS)
    assert stored(engine, job_id) == {"ann@example.com": "another", "new@example.com": "fresh"}
    assert olive.client.get(f"/jobs/{job_id}").json()["accounts_count"] == 2


def test_bad_file_or_missing_column_changes_nothing(engine: Engine, olive: Person) -> None:
    csv = "username,password,branch\nann@example.com,old,n1\n"
    job_id = make_job_with(olive, csv, billing_url="https://p.example/{branch}")
    refused = put_accounts(olive, job_id, "username,password,branch\nann@example.com,,n1\n")
    assert (refused.status_code, list(refused.json()["fields"])) == (422, ["csv"])
    assert "row 2: password is empty" in refused.json()["error"]
    without_column = put_accounts(olive, job_id, "username,password\nann@example.com,other\n")
    assert (without_column.status_code, list(without_column.json()["fields"])) == (422, ["billing_url"])
    nothing = olive.client.put(f"/jobs/{job_id}/accounts", files={"csv": ("a.csv", b"", "text/csv")})
    assert nothing.status_code == 422
    assert stored(engine, job_id) == {"ann@example.com": "old"}


def test_accounts_of_a_running_job_are_left_alone(engine: Engine, olive: Person) -> None:
    job_id = make_job_with(olive, "username,password\nann@example.com,old\n", billing_url="https://p.example/b")
    with transaction(engine) as session:
        session.get_one(Job, job_id).status = JobStatus.RUNNING
    answer = put_accounts(olive, job_id, NEW_CSV)
    assert answer.status_code == 409
    assert "run is in progress" in answer.json()["error"]
    assert stored(engine, job_id) == {"ann@example.com": "old"}


def test_preview_shows_what_would_change_and_no_secret(engine: Engine, olive: Person) -> None:
    ann, bob, gone, new, stuck = (f"{name}@example.com" for name in ("ann", "bob", "gone", "new", "stuck"))
    csv = f"username,password\n{ann},old\n{bob},same\n{gone},x\n{stuck},same\n"
    job_id = make_job_with(olive, csv, billing_url="https://p.example/b")
    with transaction(engine) as session:
        for account in session.scalars(
            select(Account).where(Account.username.in_(["ann@example.com", "stuck@example.com"]))
        ):
            account.status = AccountStatus.NEEDS_ATTENTION
    before = stored(engine, job_id)
    csv = f"username,password\n{ann},n3w-s3cret\n{bob},same\n{new},fr3sh\n{stuck},same\n"
    answer = preview(olive, job_id, csv)
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "added": 1,
            "changed": 1,
            "changed_password": 1,
            "removed": 1,
            "unchanged": 2,
            "ready_again": 1,
            "still_waiting": 1,
            "usernames": {
                "added": [new],
                "changed_password": [ann],
                "changed_otherwise": [],
                "removed": [gone],
            },
            "version": 1,
        },
    )
    assert not [secret for secret in ("n3w-s3cret", "fr3sh", "same", "old") if secret in answer.text]
    assert stored(engine, job_id) == before
    done = put_accounts(olive, job_id, csv, version="1")
    assert (done.status_code, done.json()) == (
        200,
        {"added": 1, "changed": 1, "changed_password": 1, "removed": 1, "unchanged": 2},
    )
    with transaction(engine) as session:
        waiting = select(Account.username).where(Account.status == AccountStatus.NEEDS_ATTENTION)
        assert session.scalars(waiting).all() == [stuck]


def test_what_was_previewed_is_not_saved_over_somebody_elses_change(engine: Engine, olive: Person) -> None:
    job_id = make_job_with(olive, "username,password\nann@example.com,old\n", billing_url="https://p.example/b")
    version = preview(olive, job_id, NEW_CSV).json()["version"]
    assert put_accounts(olive, job_id, "username,password\nann@example.com,meanwhile\n").status_code == 200
    answer = put_accounts(olive, job_id, NEW_CSV, version=str(version))
    assert answer.status_code == 409
    assert "changed meanwhile" in answer.json()["error"]
    assert stored(engine, job_id) == {"ann@example.com": "meanwhile"}
    assert put_accounts(olive, job_id, NEW_CSV, version=str(version + 1)).status_code == 200
    assert put_accounts(olive, job_id, NEW_CSV, version="two").status_code == 422


def test_preview_refuses_what_saving_would(engine: Engine, olive: Person, sign_in: Callable[..., Person]) -> None:
    job_id = make_job_with(olive, "username,password\nann@example.com,old\n", billing_url="https://p.example/b")
    bad = preview(olive, job_id, "username,password\nann@example.com,\n")
    assert (bad.status_code, list(bad.json()["fields"])) == (422, ["csv"])
    assert preview(sign_in("otto"), job_id, NEW_CSV).status_code == 404
    assert preview(sign_in("vera", Role.VIEWER), job_id, NEW_CSV).status_code == 403
    answer = olive.client.post(f"/jobs/{job_id}/accounts/preview", json={})
    assert answer.status_code == 415


def test_accounts_are_listed_in_the_order_of_the_csv(olive: Person) -> None:
    rows = "".join(f"user{n}@example.com,secret-{n}\n" for n in range(5))
    job_id = make_job_with(olive, f"username,password\n{rows}", billing_url="https://portal.example/bills")
    first = olive.client.get(f"/jobs/{job_id}/accounts?limit=3").json()
    rest = olive.client.get(f"/jobs/{job_id}/accounts", params={"cursor": first["next_cursor"]}).json()
    listed = [*first["items"], *rest["items"]]
    assert [(a["row_number"], a["username"]) for a in listed] == [(n + 2, f"user{n}@example.com") for n in range(5)]
    assert rest["next_cursor"] is None
    assert set(listed[0]) == {"id", "row_number", "username", "status", "status_reason", "last_success_at"}
    assert len({account["id"] for account in listed}) == 5
