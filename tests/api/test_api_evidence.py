"""Evidence over the API: its shape, and that nobody sees anything of other people's."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, text

from db.engine import transaction
from db.models import Role, RunStatus, RunTrigger
from tests.api.portal_story import Person
from tests.factories import NOW, make_job, make_run


def ask(person: Person) -> dict[str, Any]:
    answer = person.client.get("/evidence")
    assert answer.status_code == 200, answer.text
    return answer.json()


def line_of(body: dict[str, Any], key: str) -> dict[str, Any]:
    return next(line for line in body["lines"] if line["key"] == key)


def fire_twice(engine: Engine, person: Person) -> tuple[str, list[int]]:
    """With the guard gone, a job of the person's that fired twice; returns the job and its runs."""
    with transaction(engine) as session:
        session.execute(text("DROP INDEX uq_import_runs_occurrence"))
        job = make_job(session, person.viewer, name="Water")
        done: dict[str, Any] = {"trigger": RunTrigger.SCHEDULE, "status": RunStatus.COMPLETED, "started_at": NOW}
        return job.id, [make_run(session, job, **done).id for _ in range(2)]


def test_evidence_tells_what_was_counted_and_what_guards_it(olive: Person) -> None:
    body = ask(olive)
    assert body["asked_at"].endswith("Z")
    assert body["took_seconds"] > 0
    assert (body["scope"], body["is_fine"]) == ("own", False)  # no scheduler is running
    assert [line["key"] for line in body["lines"] if not line["is_fine"]] == ["schedulers_alive"]
    line = line_of(body, "fired_twice")
    definition = line["guard"].pop("definition")
    assert definition.startswith("CREATE UNIQUE INDEX uq_import_runs_occurrence ON public.import_runs")
    assert line == {
        "key": "fired_twice",
        "title": "Occurrences fired twice",
        "meaning": "Instants of a job's schedule that have two rows: bills may then have been fetched twice.",
        "count": 0,
        "is_fine": True,
        "checked": {"runs": 0},
        "since": None,
        "guard": {"name": "uq_import_runs_occurrence", "holds": True, "problem": None},
        "findings": [],
    }


def test_evidence_counts_a_double_and_names_the_missing_index(
    engine: Engine, olive: Person, sign_in: Callable[..., Person]
) -> None:
    job_id, run_ids = fire_twice(engine, olive)
    for person in (olive, sign_in("ada", Role.ADMIN)):
        line = line_of(ask(person), "fired_twice")
        assert (line["count"], line["is_fine"], line["checked"]) == (1, False, {"runs": 2})
        assert line["guard"] == {
            "name": "uq_import_runs_occurrence",
            "definition": None,
            "holds": False,
            "problem": "is missing",
        }
        assert line["findings"] == [
            {
                "job_id": job_id,
                "job_name": "Water",
                "run_ids": run_ids,
                "at": "2025-03-10T12:00:00Z",
                "words": "fired 2 times",
            }
        ]


def test_evidence_shows_others_nothing_of_it(engine: Engine, olive: Person, sign_in: Callable[..., Person]) -> None:
    job_id, _ = fire_twice(engine, olive)
    for role in (Role.OPERATOR, Role.VIEWER):
        answer = sign_in(f"mallory-{role}", role).client.get("/evidence")
        line = line_of(answer.json(), "fired_twice")
        assert (line["count"], line["checked"], line["findings"]) == (0, {"runs": 0}, [])
        assert job_id not in answer.text
        assert "Water" not in answer.text


def test_scope_of_admins_is_everybody(sign_in: Callable[..., Person]) -> None:
    assert ask(sign_in("ada", Role.ADMIN))["scope"] == "everybody"
