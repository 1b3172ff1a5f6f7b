"""Bill documents over HTTP: to their owner and to admins, and only from inside the storage."""

from datetime import UTC, datetime

import pytest

from db.engine import transaction
from db.models import Bill, BillVersion, Job, Role
from tests.factories import make_run
from tests.web.site import Site

PDF = b"%PDF-1.7 a bill" * 100_000


def add_bill(site: Site, username: str, *documents: dict[str, str]) -> int:
    with transaction(site.engine) as session:
        job = Job(
            user_id=site.user_id_of(username),
            name="Water",
            login_url="https://p.example/",
            billing_url="https://p.example/b",
        )
        job.updated_at = datetime.now(UTC)
        session.add(job)
        session.flush()
        bill = Bill(session_id=job.id, username="acct", bill_key="42", documents=list(documents))
        session.add(bill)
        session.flush()
        return bill.id


def store(site: Site, key: str, content: bytes = PDF) -> str:
    path = site.home / "bills" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return key


def document(file_url: str, name: str = "bill 42.pdf", content_type: str = "application/pdf") -> dict[str, str]:
    return {"file_url": file_url, "file_name": name, "content_type": content_type}


def test_owner_downloads_the_document_under_its_name(site: Site) -> None:
    username = site.add_user()
    bill = add_bill(site, username, document(store(site, "ab/abcd.pdf"), 'Rechnung "März"/1.pdf'))
    with site.client(site.start_session(username)) as client:
        response = client.get(f"/files/bills/{bill}/0")
    assert response.content == PDF
    assert response.headers["content-length"] == str(len(PDF))
    assert response.headers["content-type"] == "application/pdf"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-disposition"] == (
        "attachment; filename=\"Rechnung M_rz1.pdf\"; filename*=UTF-8''Rechnung%20M%C3%A4rz1.pdf"
    )


def test_owner_and_nobody_else_downloads_what_a_bill_was_before_it_changed(site: Site) -> None:
    username, stranger = site.add_user(), site.add_user(prefix="stranger")
    bill = add_bill(site, username, document(store(site, "ab/abcd.pdf")))
    with transaction(site.engine) as session:
        version = BillVersion(bill_id=bill, documents=[document(store(site, "cd/old.pdf", PDF + b"old"), "old.pdf")])
        session.add(version)
        session.flush()
        address = f"/files/bills/{bill}/versions/{version.id}/0"
    with site.client(site.start_session(username)) as client:
        response = client.get(address)
        assert client.get(address.replace("/0", "/1")).status_code == 404
    assert response.content == PDF + b"old"
    assert "old.pdf" in response.headers["content-disposition"]
    with site.client(site.start_session(stranger)) as client:
        assert client.get(address).status_code == 404


def test_only_pdfs_are_shown_inline(site: Site) -> None:
    username = site.add_user()
    bill = add_bill(
        site,
        username,
        document(store(site, "aa/1.pdf")),
        document(store(site, "aa/2.html", b"<script>alert(1)</script>"), "x.html", "text/html"),
    )
    with site.client(site.start_session(username)) as client:
        dispositions = [
            client.get(f"/files/bills/{bill}/{n}?inline=1").headers["content-disposition"].partition(";")[0]
            for n in (0, 1)
        ]
    assert dispositions == ["inline", "attachment"]


def test_admins_see_everyones_documents_and_others_only_their_own(site: Site) -> None:
    bill = add_bill(site, site.add_user(), document(store(site, "ab/abcd.pdf")))
    statuses = {}
    for role in Role:
        with site.client(site.start_session(site.add_user(role))) as client:
            statuses[role] = client.get(f"/files/bills/{bill}/0").status_code
    assert statuses == {Role.ADMIN: 200, Role.OPERATOR: 404, Role.VIEWER: 404}


def test_whole_addresses_inside_the_storage_work(site: Site) -> None:
    username = site.add_user()
    key = store(site, "ab/abcd.pdf")
    bill = add_bill(site, username, document(f"file://{site.home}/bills/{key}"))
    with site.client(site.start_session(username)) as client:
        assert client.get(f"/files/bills/{bill}/0").content == PDF


@pytest.mark.parametrize(
    "file_url",
    [
        "../secret.txt",
        "ab/../../secret.txt",
        "ab/%2e%2e/%2e%2e/secret.txt",
        "..\\secret.txt",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1/x",
        "ab//x",
        "",
        "ab",
        "gone.pdf",
    ],
)
def test_nothing_outside_the_storage_is_ever_read(site: Site, file_url: str) -> None:
    store(site, "ab/abcd.pdf")
    (site.home / "secret.txt").write_text("secret")
    username = site.add_user()
    bill = add_bill(site, username, document(file_url))
    with site.client(site.start_session(username)) as client:
        assert client.get(f"/files/bills/{bill}/0").status_code == 404


@pytest.mark.parametrize(
    "path", ["{bill}/1", "0/0", "99999999999999999999999/0", "{bill}/-1", "x/0", "{bill}/9999999999"]
)
def test_documents_that_do_not_exist_are_not_found(site: Site, path: str) -> None:
    username = site.add_user()
    bill = add_bill(site, username, document(store(site, "ab/abcd.pdf")))
    with site.client(site.start_session(username)) as client:
        response = client.get("/files/bills/" + path.format(bill=bill), headers={"Accept": "application/json"})
    assert response.status_code == 404 or "<title>Streamlit</title>" in response.text


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_bills_of_a_run_and_of_a_job_are_sent_to_their_owner_only(site: Site, kind: str) -> None:
    owner, other = site.add_user(), site.add_user()
    bill_id = add_bill(site, owner)
    with transaction(site.engine) as session:
        job_id = session.get_one(Bill, bill_id).session_id
        run = make_run(session, session.get_one(Job, job_id))
        session.get_one(Bill, bill_id).last_seen_run = run.id
        addresses = [f"/files/runs/{run.id}/bills.{kind}", f"/files/jobs/{job_id}/bills.{kind}"]
    for address in addresses:
        with site.client(site.start_session(owner)) as client:
            response = client.get(address)
            assert response.status_code == 200
            assert response.headers["content-disposition"].startswith('attachment; filename="bills')
            assert (b"acct" in response.content) or response.content.startswith(b"PK")
        with site.client(site.start_session(other)) as client:
            assert client.get(address).status_code == 404
        with site.client() as client:
            assert client.get(address, follow_redirects=False).status_code in (303, 401)
