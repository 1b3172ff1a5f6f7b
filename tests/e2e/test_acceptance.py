"""The story of the product over HTTP, with real processes: a job fires, runs, and survives a crash."""

import csv
import hashlib
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.e2e.installation import ADMIN_PASSWORD, PROJECT_ROOT, Installation
from tests.waiting import wait_until

ACCOUNTS = PROJECT_ROOT / "demo" / "accounts.csv"
ACCOUNTS_AT_A_TIME = 2  # at a portal of which nothing else was said
UNUSUAL = {"hugo.martin@example.com": "wrong_credentials", "noah.fischer@example.com": "no_bills"}
FINAL = {"completed", "partial", "failed", "stopped", "timed_out", "lost"}


@pytest.fixture
def api(installation: Installation) -> httpx.Client:
    """A signed-in client of the installation's API, with web and demo portal running."""
    installation.start_demo()
    installation.start_web()
    client = httpx.Client(base_url=f"{installation.url}/api", timeout=30)
    answer = client.post("/auth/login", json={"username": "admin", "password": ADMIN_PASSWORD})
    assert answer.status_code == 200, answer.text
    client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return client


def create_job(api: httpx.Client, installation: Installation, schedule: dict[str, Any]) -> dict[str, Any]:
    answer = api.post(
        "/jobs",
        files={"csv": ("accounts.csv", ACCOUNTS.read_bytes(), "text/csv")},
        data={
            "name": "Energy bills",
            "login_url": f"{installation.portal}/login",
            "billing_url": f"{installation.portal}/billing",
            "authorised": "true",
        }
        | schedule,
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


def due_soon() -> dict[str, str]:
    """A schedule whose first occurrence is at the next full minute, and no other one today."""
    at = datetime.now(UTC) + timedelta(minutes=1)
    config = json.dumps({"hour": at.hour, "minute": at.minute})
    return {"is_scheduled": "true", "schedule_type": "daily", "schedule_config": config, "time_zone": "UTC"}


def get_results(api: httpx.Client, run_id: int) -> list[dict[str, Any]]:
    return api.get(f"/runs/{run_id}/results", params={"limit": 100}).raise_for_status().json()["items"]


def assert_expected_outcome(results: list[dict[str, Any]]) -> None:
    assert len({r["username"] for r in results}) == len(results) == 20
    plain = [r for r in results if r["status"] == "success" and r["retry_attempts"] == 0]
    retried = [r for r in results if r["status"] == "success" and r["retry_attempts"] == 2]
    assert len(plain) == 17
    assert len(retried) == 1
    assert Counter(r["status"] for r in results) == {"success": 18, "wrong_credentials": 1, "no_bills": 1}


def test_scheduled_job_fires_runs_and_completes_by_itself(installation: Installation, api: httpx.Client) -> None:
    installation.start_scheduler()
    job = create_job(api, installation, due_soon())
    first = datetime.fromisoformat(job["next_run"])

    def finished_run() -> dict[str, Any] | None:
        runs = api.get(f"/jobs/{job['id']}/runs").raise_for_status().json()["items"]
        return next((r for r in runs if r["status"] in FINAL), None)

    run = wait_until(finished_run, seconds=150, what="the scheduled run to end by itself")

    assert run["status"] == "partial"
    assert run["trigger"] == "schedule"
    assert datetime.fromisoformat(run["scheduled_for"]) == first
    results = get_results(api, run["id"])
    assert_expected_outcome(results)
    assert_same_documents(installation, api, run["id"], results)
    after = api.get(f"/jobs/{job['id']}").json()
    assert datetime.fromisoformat(after["next_run"]) == first + timedelta(days=1)
    assert datetime.fromisoformat(after["last_scheduled_run"]) == first
    assert after["status"] == "partial"


def assert_same_documents(
    installation: Installation, api: httpx.Client, run_id: int, results: list[dict[str, Any]]
) -> None:
    """Every document that was downloaded is, byte for byte, what the portal serves to that account."""
    bills = api.get(f"/runs/{run_id}/bills", params={"limit": 1000}).raise_for_status().json()["items"]
    stored = {(bill["username"], document["sha256"]) for bill in bills for document in bill["documents"]}
    served = {
        (result["username"], document["sha256"])
        for result in results
        if result["status"] == "success"
        for document in installation.get_portal(f"/_demo/bills?username={result['username']}")
    }
    assert stored == served
    assert served
    for result in results:
        if result["status"] == "success":
            content = api.get(f"/results/{result['id']}/file").raise_for_status().content
            assert content.startswith(b"%PDF")
            assert (result["username"], hashlib.sha256(content).hexdigest()) in served


def test_killed_scheduler_resumes_without_repeating_sign_ins(installation: Installation, api: httpx.Client) -> None:
    installation.start_scheduler()
    job = create_job(api, installation, {"is_scheduled": "false"})
    run = api.post(f"/jobs/{job['id']}/run")
    assert run.status_code == 202, run.text
    run_id = run.json()["id"]

    wait_until(lambda: len(get_results(api, run_id)) >= 4, seconds=60, what="a few accounts to be done")
    installation.kill("scheduler")
    finished_before = {r["username"] for r in get_results(api, run_id)}
    assert len(finished_before) < 20, "the run ended before it could be interrupted"
    posts_before = count_sign_ins(installation)
    installation.start_scheduler()

    def ended() -> dict[str, Any] | None:
        state = api.get(f"/runs/{run_id}").json()
        return state if state["status"] in FINAL else None

    state = wait_until(ended, seconds=120, what="the interrupted run to end")

    assert state["status"] == "partial"
    assert state["attempt"] == 2
    results = get_results(api, run_id)
    assert len({r["username"] for r in results}) == len(results) == 20
    posts_after = count_sign_ins(installation)
    assert {u: posts_after[u] for u in finished_before} == {u: posts_before[u] for u in finished_before}
    assert set(posts_after.values()) == {1}
    # Accounts whose visit was cut short are named, and not signed in to again.
    cut_short = {r["username"] for r in results if r["status"] == "failed"}
    assert len(cut_short) <= ACCOUNTS_AT_A_TIME
    assert cut_short & finished_before == set()
    assert all("was interrupted" in r["error"] for r in results if r["username"] in cut_short)
    others = {r["username"]: r["status"] for r in results if r["username"] not in cut_short}
    assert others == {username: UNUSUAL.get(username, "success") for username in others}


def count_sign_ins(installation: Installation) -> Counter[str]:
    """Sign-in POSTs by account, as the portal counted them."""
    log = installation.get_portal("/_demo/requests")
    entries = log["requests"] if isinstance(log, dict) else log
    return Counter(e["username"] for e in entries if e["method"] == "POST" and e["path"] == "/login")


def test_no_secret_in_any_log(installation: Installation, api: httpx.Client) -> None:
    installation.start_scheduler()
    job = create_job(api, installation, {"is_scheduled": "false"})
    run_id = api.post(f"/jobs/{job['id']}/run").json()["id"]
    wait_until(lambda: api.get(f"/runs/{run_id}").json()["status"] in FINAL, seconds=120, what="the run to end")
    installation.stop()
    printed = "".join(installation.log(name) for name in ("web", "scheduler", "demo"))
    with ACCOUNTS.open(newline="", encoding="utf-8") as file:
        passwords = [row["password"] for row in csv.DictReader(file)]
    assert [p for p in [*passwords, ADMIN_PASSWORD] if p in printed] == []
