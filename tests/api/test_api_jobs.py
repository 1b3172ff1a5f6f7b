"""Jobs over the API: created, listed, changed, run, paused and deleted."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select

from db.engine import transaction
from db.models import Account, AuditEntry, Job, JobStatus, Portal, Role, Run, RunStatus
from portal_import.accounts_csv import MAX_BYTES
from tests.api.portal_story import CSV, Person, post_job
from tests.factories import DAILY, NOW, make_job, make_run

FIRST_FIELDS = [
    "id", "name", "login_url", "billing_url", "status", "created_at", "accounts_count", "results_count",
    "is_scheduled", "schedule_type", "schedule_config", "time_zone", "next_run", "last_scheduled_run",
]  # fmt: skip


def add_job(engine: Engine, person: Person, **columns: object) -> str:
    with transaction(engine) as session:
        return make_job(session, person.viewer, **columns).id  # pyright: ignore[reportArgumentType]


def test_created_job_shows_its_schedule_and_next_run(olive: Person) -> None:
    answer = post_job(olive)
    job = answer.json()
    assert answer.status_code == 201, job
    assert list(job)[: len(FIRST_FIELDS)] == FIRST_FIELDS
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    assert (job["status"], job["accounts_count"], job["results_count"]) == ("idle", 2, 0)
    assert (job["is_scheduled"], job["schedule_type"], job["time_zone"]) == (True, "weekly", "Europe/London")
    assert job["schedule_config"] == {"day_of_week": 1, "hour": 9, "minute": 0}
    assert job["schedule_description"] == "Every Monday at 09:00 (Europe/London)"
    next_run = datetime.fromisoformat(job["next_run"])
    assert job["next_run"].endswith("Z")
    assert job["created_at"].endswith("Z")
    assert datetime.now(UTC) < next_run <= datetime.now(UTC) + timedelta(days=7)
    assert job["last_scheduled_run"] is None
    assert olive.client.get(f"/jobs/{job['id']}").json() == job


def test_job_without_schedule_needs_only_the_basics(olive: Person) -> None:
    nothing = dict.fromkeys(("is_scheduled", "schedule_type", "schedule_config", "time_zone"))
    job = post_job(olive, **nothing).json()
    assert (job["is_scheduled"], job["schedule_type"], job["next_run"]) == (False, None, None)


def test_schedule_sent_with_false_is_kept_switched_off(olive: Person) -> None:
    job = post_job(olive, is_scheduled="False").json()
    assert (job["is_scheduled"], job["schedule_type"], job["next_run"]) == (False, "weekly", None)
    on = olive.client.patch(f"/jobs/{job['id']}", json={"is_scheduled": True}).json()
    assert on["schedule_config"] == {"day_of_week": 1, "hour": 9, "minute": 0}
    assert on["time_zone"] == "Europe/London"
    assert on["next_run"] is not None


def test_time_zone_defaults_to_the_users(engine: Engine, olive: Person) -> None:
    assert post_job(olive, time_zone=None).json()["time_zone"] == "UTC"


def test_further_settings_are_taken_over(olive: Person) -> None:
    job = post_job(olive, catch_up="all", overlap="queue", timeout_seconds="90").json()
    assert (job["catch_up"], job["overlap"], job["timeout_seconds"]) == ("all", "queue", 90)


NEVER = '{"cron_expression": "0 0 31 2 *"}'


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"name": None}, "name", "give the job a name"),
        ({"name": "x" * 121}, "name", "found 121 characters; at most 120"),
        ({"name": "a\0b"}, "name", "cannot be shown"),
        ({"login_url": None}, "login_url", "https://"),
        ({"login_url": "ftp://portal.example/"}, "login_url", "only http:// and https://"),
        ({"login_url": "javascript:alert(1)"}, "login_url", "only http:// and https://"),
        ({"billing_url": "https://portal.example/{nosuch}"}, "billing_url", "{nosuch}"),
        ({"billing_url": "https://portal.example/{password}"}, "billing_url", "password"),
        ({"is_scheduled": "yes"}, "is_scheduled", 'found "yes"; allowed: true or false'),
        ({"is_scheduled": "1"}, "is_scheduled", "true or false"),
        ({"is_scheduled": None}, "is_scheduled", "is missing"),
        ({"authorised": "ja"}, "authorised", "true or false"),
        ({"authorised": None}, "authorised", "portal.example"),
        ({"authorised": "false"}, "authorised", "authorised=true"),
        ({"schedule_type": None}, "schedule_type", "allowed: daily, weekly, monthly, custom"),
        ({"schedule_type": "hourly"}, "schedule", 'unknown schedule_type "hourly"'),
        ({"schedule_config": None}, "schedule_config", "is missing"),
        ({"schedule_config": "every monday"}, "schedule_config", 'found "every monday"'),
        ({"schedule_config": "[1]"}, "schedule_config", "a JSON object"),
        ({"schedule_config": "[" * 20_000}, "schedule_config", "a JSON object"),
        ({"schedule_config": '{"hour": ' + "9" * 5_000 + "}"}, "schedule_config", "a JSON object"),
        ({"schedule_config": "{}"}, "schedule", "schedule_config is empty"),
        ({"schedule_config": '{"day_of_week": 1, "hour": 24, "minute": 0}'}, "schedule", "0-23"),
        ({"schedule_config": '{"day_of_week": 1, "hour": NaN, "minute": 0}'}, "schedule", "not a whole number"),
        ({"schedule_config": '{"day_of_week": "\\ud800", "hour": 1, "minute": 0}'}, "schedule", "day_of_week"),
        ({"schedule_type": "custom", "schedule_config": NEVER}, "schedule", "never"),
        ({"schedule_type": "custom", "schedule_config": '{"cron_expression": "0 0 * *"}'}, "schedule", "has 4 fields"),
        ({"time_zone": "Europe/Londn"}, "schedule", 'did you mean "Europe/London"?'),
        ({"catch_up": "some"}, "catch_up", "latest, all, none"),
        ({"overlap": "run"}, "overlap", "skip, queue"),
        ({"timeout_seconds": "-5"}, "timeout_seconds", "a whole number"),
        ({"timeout_seconds": "1.5"}, "timeout_seconds", "a whole number"),
        ({"timeout_seconds": "0"}, "timeout_seconds", "allowed 1 to 86400"),
        ({"timeout_seconds": "9" * 5_000}, "timeout_seconds", "a whole number"),
        ({"csv": None}, "csv", "CSV file"),
        ({"csv": ""}, "csv", "empty"),
        ({"csv": "username,password\n"}, "csv", ""),
        ({"csv": "username,password\nann,\n"}, "csv", "row 2: password is empty"),
        ({"csv": b"%PDF-1.7"}, "csv", "PDF"),
        ({"csv": b"username,password\nann\0,x\n"}, "csv", "NUL"),
        ({"csv": b"x" * (MAX_BYTES + 1)}, "csv", "10"),
    ],
)  # fmt: skip
def test_bad_field_is_named_and_nothing_is_stored(
    engine: Engine, olive: Person, changes: dict[str, str | None], field: str, words: str
) -> None:
    if changes.get("csv", "") is None:
        answer = olive.client.post("/jobs", files={"name": (None, "Water bills")})
    else:
        answer = post_job(olive, **changes)
    body = answer.json()
    assert answer.status_code == 422, body
    assert words in body["fields"][field]
    assert field in body["error"]
    with transaction(engine) as session:
        for table in (Job, Account, Portal, AuditEntry):
            assert session.scalar(select(func.count()).select_from(table)) == 0


def test_all_problems_are_named_at_once(olive: Person) -> None:
    answer = post_job(
        olive, name=None, login_url="x", billing_url="https://x/", time_zone="Nowhere", overlap="no", csv=""
    )
    assert set(answer.json()["fields"]) == {"name", "login_url", "schedule", "overlap", "csv"}


def test_unknown_form_field_is_refused_by_name(olive: Person) -> None:
    answer = post_job(olive, timezone="Europe/Berlin")
    assert answer.status_code == 422
    assert answer.json()["error"].startswith('unknown field "timezone"; allowed: csv, name, login_url')


def test_csv_as_text_field_is_refused(olive: Person) -> None:
    answer = olive.client.post("/jobs", files={"csv": (None, CSV), "name": (None, "x")})
    assert answer.status_code == 422
    assert answer.json()["fields"]["csv"].startswith("send it as a file")


def test_other_bodies_are_refused_by_their_kind(olive: Person) -> None:
    answer = olive.client.post("/jobs", json={"name": "x"})
    assert answer.status_code == 415
    assert answer.json() == {
        "error": 'found Content-Type "application/json"; send multipart/form-data with the file in csv'
    }


def test_portal_is_authorised_once(olive: Person) -> None:
    assert post_job(olive).status_code == 201
    assert post_job(olive, authorised=None).status_code == 201


def test_list_pages_through_all_jobs_once(engine: Engine, olive: Person) -> None:
    with transaction(engine) as session:
        ids = [make_job(session, olive.viewer, created_at=NOW + timedelta(hours=n // 3)).id for n in range(11)]
    seen: list[str] = []
    cursor = None
    pages = 0
    while pages == 0 or cursor:
        page = olive.client.get("/jobs", params={"limit": 4} | ({"cursor": cursor} if cursor else {})).json()
        seen += [job["id"] for job in page["items"]]
        cursor = page["next_cursor"]
        pages += 1
    assert pages == 3
    assert len(seen) == 11
    assert set(seen) == set(ids)
    assert seen[-1] in ids[:3]


def test_list_searches_and_filters(engine: Engine, olive: Person) -> None:
    gas = add_job(engine, olive, name="100% Gas_bills")
    failed = add_job(engine, olive, status=JobStatus.FAILED)
    found = [
        [job["id"] for job in olive.client.get("/jobs", params=params).json()["items"]]
        for params in (
            {"q": "gas_"},
            {"q": "0%"},
            {"q": "_gas"},
            {"status": "failed"},
            {"q": "gas", "status": "failed"},
        )
    ]
    assert found == [[gas], [gas], [], [failed], []]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=0", 'limit: found "0"; allowed: 1 or more'),
        ("limit=201", 'limit: found "201"; allowed: 200 or less'),
        ("limit=ten", 'limit: found "ten"; allowed: a whole number'),
        ("status=sleeping", "status: found \"sleeping\"; allowed: 'idle', 'queued'"),
        ("cursor=", "cursor: it does not belong to this list"),
        ("cursor=e30", "cursor: it does not belong to this list"),
        ("cursor=%F0%9F%98%80", "cursor: it does not belong to this list"),
        ("q=a%00b", "q: found"),
        ("stauts=idle", 'unknown field "stauts"; allowed: cursor, limit, q, status'),
    ],
)
def test_bad_query_is_explained(olive: Person, query: str, words: str) -> None:
    answer = olive.client.get(f"/jobs?{query}")
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(words)


def test_altered_or_foreign_cursor_is_refused(engine: Engine, olive: Person) -> None:
    with transaction(engine) as session:
        jobs = [make_job(session, olive.viewer) for _ in range(2)]
        for _ in range(3):
            make_run(session, jobs[0], status=RunStatus.COMPLETED)
    cursor = olive.client.get("/jobs?limit=1").json()["next_cursor"]
    runs_cursor = olive.client.get(f"/jobs/{jobs[0].id}/runs?limit=1").json()["next_cursor"]
    altered = ("A" if cursor[-5] != "A" else "B").join((cursor[:-5], cursor[-4:]))
    for path in (
        f"/jobs?cursor={altered}",
        f"/jobs?cursor={runs_cursor}",
        f"/jobs/{jobs[1].id}/runs?cursor={runs_cursor}",
        f"/jobs?cursor={cursor[:-1]}",
    ):
        answer = olive.client.get(path)
        assert answer.status_code == 422, path
        assert "next_cursor" in answer.json()["error"]


def test_admins_see_whose_job_it_is(engine: Engine, olive: Person, sign_in: Callable[..., Person]) -> None:
    job_id = add_job(engine, olive)
    admin = sign_in("ada", Role.ADMIN)
    owner = {"id": olive.viewer.user_id, "name": "Olive"}
    assert admin.client.get(f"/jobs/{job_id}").json()["owner"] == owner
    assert [job["owner"] for job in admin.client.get("/jobs").json()["items"]] == [owner]
    assert olive.client.get(f"/jobs/{job_id}").json()["owner"] is None


def test_patch_changes_what_is_sent_and_nothing_else(engine: Engine, olive: Person) -> None:
    before = post_job(olive).json()
    answer = olive.client.patch(
        f"/jobs/{before['id']}",
        json={"name": " Gas   bills ", "timeout_seconds": 60, "catch_up": "none", "version": before["version"]},
    )
    after = answer.json()
    assert answer.status_code == 200, after
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"name", "timeout_seconds", "catch_up", "version", "updated_at"}
    assert after["name"] == "Gas bills"


def test_patch_moves_the_next_run_with_the_schedule(olive: Person) -> None:
    job = post_job(olive).json()
    edit = {"schedule_type": "daily", "schedule_config": {"hour": 2, "minute": 30}, "time_zone": "Asia/Tokyo"}
    after = olive.client.patch(f"/jobs/{job['id']}", json=edit).json()
    assert after["schedule_description"] == "Every day at 02:30 (Asia/Tokyo)"
    assert after["next_run"][11:16] == "17:30"
    zone_only = olive.client.patch(f"/jobs/{job['id']}", json={"time_zone": "UTC"}).json()
    assert zone_only["next_run"][11:16] == "02:30"
    off = olive.client.patch(f"/jobs/{job['id']}", json={"is_scheduled": False}).json()
    assert (off["is_scheduled"], off["next_run"], off["schedule_type"]) == (False, None, "daily")


def test_patch_with_an_old_version_changes_nothing(olive: Person) -> None:
    job = post_job(olive).json()
    address = f"/jobs/{job['id']}"
    olive.client.patch(address, json={"name": "first", "version": job["version"]})
    for edit in ({"name": "second"}, {"time_zone": "UTC"}, {"is_scheduled": False}):
        answer = olive.client.patch(address, json=edit | {"version": job["version"]})
        assert answer.status_code == 409
        assert "changed meanwhile" in answer.json()["error"]
    after = olive.client.get(address).json()
    assert (after["name"], after["time_zone"], after["is_scheduled"]) == ("first", "Europe/London", True)


def test_patch_with_the_right_version_changes_details_and_schedule_together(olive: Person) -> None:
    job = post_job(olive).json()
    daily = {"schedule_type": "daily", "schedule_config": {"hour": 2, "minute": 30}}
    edit = daily | {"name": "Gas", "is_scheduled": False, "version": job["version"]}
    after = olive.client.patch(f"/jobs/{job['id']}", json=edit).json()
    assert (after["name"], after["schedule_type"], after["is_scheduled"]) == ("Gas", "daily", False)
    assert after["version"] > job["version"]


def test_refused_schedule_takes_the_other_changes_with_it(olive: Person) -> None:
    job = post_job(olive).json()
    answer = olive.client.patch(f"/jobs/{job['id']}", json={"name": "Gas", "time_zone": "Mars"})
    assert answer.status_code == 422
    assert olive.client.get(f"/jobs/{job['id']}").json() == job


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({}, "nothing to change; send at least one of name"),
        ({"version": 1}, "nothing to change"),
        ({"nmae": "x"}, 'unknown field "nmae"; allowed: name, login_url'),
        ({"status": "completed"}, 'unknown field "status"'),
        ({"user_id": "me", "{x}": 1}, 'unknown field "user_id", "{x}"'),
        ({"name": None}, "name: found nothing; allowed: text"),
        ({"name": ""}, "name: give the job a name"),
        ({"login_url": "ftp://x.example"}, "login_url: login URL"),
        ({"billing_url": "https://portal.example/{nosuch}"}, "billing_url: billing URL"),
        ({"login_url": "https://other.example/login"}, "authorised: confirm"),
        ({"timeout_seconds": "60"}, 'timeout_seconds: found "60"; allowed: a whole number'),
        ({"timeout_seconds": 10**30}, "timeout_seconds: found"),
        ({"timeout_seconds": True}, "timeout_seconds: found"),
        ({"is_scheduled": "true"}, 'is_scheduled: found "true"; allowed: true or false'),
        ({"catch_up": "some"}, "catch_up: found \"some\"; allowed: 'latest', 'all' or 'none'"),
        ({"schedule_type": "daily"}, "schedule: schedule_config is empty: daily needs hour, minute"),
        ({"schedule_config": {"hour": 2}}, "schedule: day_of_week is missing"),
        ({"schedule_config": "{}"}, 'schedule_config: found "{}"; allowed: an object'),
        ({"time_zone": "Mars/Olympus"}, 'schedule: unknown time zone "Mars/Olympus"'),
    ],
)  # fmt: skip
def test_bad_edit_is_explained_and_changes_nothing(olive: Person, edit: dict[str, object], words: str) -> None:
    before = post_job(olive).json()
    address = f"/jobs/{before['id']}"
    answer = olive.client.patch(address, json=edit)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"].removeprefix("body: ").startswith(words)
    assert olive.client.get(address).json() == before


def test_half_a_surrogate_pair_is_explained(engine: Engine, olive: Person) -> None:
    job_id = add_job(engine, olive)
    for body in (b'{"name": "\\ud800"}', b'{"login_url": "https://x.example/\\ud800"}', b'{"\\ud800": 1}'):
        answer = olive.client.patch(f"/jobs/{job_id}", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
        assert answer.json()["error"]


def test_edit_may_move_to_a_portal_that_it_authorises(engine: Engine, olive: Person) -> None:
    job = post_job(olive).json()
    edit = {"login_url": "https://other.example/login", "authorised": True}
    answer = olive.client.patch(f"/jobs/{job['id']}", json=edit)
    assert answer.json()["login_url"] == "https://other.example/login"
    with transaction(engine) as session:
        portal = session.get_one(Portal, session.get_one(Job, job["id"]).portal_id)
        assert portal.host == "other.example"


def test_schedule_of_a_job_that_has_none_must_be_switched_on(engine: Engine, olive: Person) -> None:
    job_id = add_job(engine, olive)
    daily = {"schedule_type": "daily", "schedule_config": {"hour": 1, "minute": 2}}
    refused = olive.client.patch(f"/jobs/{job_id}", json=daily)
    assert (refused.status_code, list(refused.json()["fields"])) == (422, ["is_scheduled"])
    missing = olive.client.patch(f"/jobs/{job_id}", json={"is_scheduled": True})
    assert (missing.status_code, list(missing.json()["fields"])) == (422, ["schedule_type"])
    on = olive.client.patch(f"/jobs/{job_id}", json=daily | {"is_scheduled": True})
    assert on.json()["next_run"][11:16] == "01:02"


def test_run_is_queued_once(engine: Engine, olive: Person) -> None:
    job_id = post_job(olive).json()["id"]
    answer = olive.client.post(f"/jobs/{job_id}/run")
    run = answer.json()
    assert answer.status_code == 202
    assert (run["status"], run["trigger"], run["job_id"]) == ("queued", "api", job_id)
    assert run["requested_by"] == olive.viewer.user_id
    again = olive.client.post(f"/jobs/{job_id}/run")
    assert (again.status_code, again.json()) == (409, {"error": "a run of this job is already queued"})
    assert olive.client.get(f"/jobs/{job_id}").json()["status"] == "queued"


def test_run_asked_for_twice_at_once_is_queued_once(engine: Engine, olive: Person) -> None:
    job_id = add_job(engine, olive)
    start = threading.Barrier(4)

    def ask(_: int) -> int:
        start.wait(10)
        return olive.client.post(f"/jobs/{job_id}/run").status_code

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(ask, range(4))) == [202, 409, 409, 409]


def test_running_job_cannot_be_run_or_deleted_but_stopped(engine: Engine, olive: Person) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive.viewer)
        run_id = make_run(session, job, status=RunStatus.RUNNING).id
    address = f"/jobs/{job.id}"
    assert olive.client.post(f"{address}/run").json() == {"error": "a run of this job is already running"}
    assert olive.client.delete(address).status_code == 409
    stopped = olive.client.post(f"{address}/stop")
    assert (stopped.status_code, stopped.json()["id"]) == (202, run_id)
    assert stopped.json()["stop_requested_at"] is not None


def test_stopping_a_queued_run_ends_it_and_then_there_is_none(olive: Person) -> None:
    job_id = post_job(olive).json()["id"]
    olive.client.post(f"/jobs/{job_id}/run")
    assert olive.client.post(f"/jobs/{job_id}/stop").json()["status"] == "stopped"
    again = olive.client.post(f"/jobs/{job_id}/stop")
    assert (again.status_code, again.json()) == (409, {"error": "no run of this job is queued or running"})


def test_pause_and_resume(engine: Engine, olive: Person) -> None:
    job_id = add_job(engine, olive, schedule=DAILY)
    paused = olive.client.post(f"/jobs/{job_id}/pause")
    assert (paused.status_code, paused.json()["paused_at"] is None) == (200, False)
    resumed = olive.client.post(f"/jobs/{job_id}/resume").json()
    assert resumed["paused_at"] is None
    assert datetime.fromisoformat(resumed["next_run"]) > datetime.now(UTC)


def test_job_without_schedule_cannot_be_paused(engine: Engine, olive: Person) -> None:
    answer = olive.client.post(f"/jobs/{add_job(engine, olive)}/pause")
    assert (answer.status_code, answer.json()) == (409, {"error": "this job has no schedule to pause"})


def test_unreadable_schedule_is_shown_and_cannot_be_resumed(engine: Engine, olive: Person) -> None:
    broken = {"schedule_config": {"hour": "two"}, "paused_at": NOW}
    job_id = add_job(engine, olive, schedule=DAILY, **broken)
    shown = olive.client.get(f"/jobs/{job_id}").json()
    assert (shown["schedule_description"], shown["schedule_config"]) == (None, {"hour": "two"})
    answer = olive.client.post(f"/jobs/{job_id}/resume")
    assert answer.status_code == 422
    assert "minute" in answer.json()["error"] or "hour" in answer.json()["error"]


def test_deleted_job_is_gone(engine: Engine, olive: Person) -> None:
    job_id = post_job(olive).json()["id"]
    answer = olive.client.delete(f"/jobs/{job_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert olive.client.get(f"/jobs/{job_id}").status_code == 404
    with transaction(engine) as session:
        assert session.scalar(select(func.count()).select_from(Account)) == 0
        assert session.scalar(select(func.count()).select_from(Run)) == 0
