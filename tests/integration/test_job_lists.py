"""Lists of jobs: their pages, what a search finds, and that neither looks at more jobs at a time than it may."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import Engine

import db.job_lists
from db.engine import transaction
from db.job_lists import (
    JobCounts,
    JobCursor,
    count_all_jobs_by_status,
    count_jobs_by_status,
    list_jobs,
    list_owner_names,
)
from db.models import Job, JobStatus, Role
from db.viewers import Viewer
from tests.factories import NOW, make_job, make_run, make_viewer


@pytest.fixture
def viewer(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session)


def test_pages_follow_each_other_even_among_equal_times(engine: Engine, viewer: Viewer) -> None:
    with transaction(engine) as session:
        for n in range(23):
            make_job(session, viewer, accounts=0, name=f"{n}", created_at=NOW - timedelta(days=n // 8))
    seen: list[Job] = []
    cursor: JobCursor | None = None
    sizes: list[int] = []
    while True:
        with transaction(engine) as session:
            page, cursor = list_jobs(session, viewer, cursor=cursor, limit=5)
        seen += page
        sizes.append(len(page))
        if cursor is None:
            break
    assert sizes == [5, 5, 5, 5, 3]
    assert len({j.id for j in seen}) == 23
    assert [(j.created_at, j.id) for j in seen] == sorted(((j.created_at, j.id) for j in seen), reverse=True)


def test_page_that_ends_exactly_has_no_next(engine: Engine, viewer: Viewer) -> None:
    with transaction(engine) as session:
        for _ in range(4):
            make_job(session, viewer, accounts=0)
        assert list_jobs(session, viewer, limit=4)[1] is None
        assert list_jobs(session, viewer, limit=3)[1] is not None


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("", {"50% off", "50 off", "a_b", "axb", r"back\slash", "Été"}),
        ("  ", {"50% off", "50 off", "a_b", "axb", r"back\slash", "Été"}),
        ("50%", {"50% off"}),
        ("%", {"50% off"}),
        ("a_b", {"a_b"}),
        ("A_B", {"a_b"}),
        ("\\", {r"back\slash"}),
        ("été", {"Été"}),
        ("' OR 1=1 --", set()),
        ("zed.example", {"axb"}),
    ],
)
def test_search_takes_the_text_as_it_is(engine: Engine, viewer: Viewer, q: str, expected: set[str]) -> None:
    with transaction(engine) as session:
        for name in ("50% off", "50 off", "a_b", "axb", r"back\slash", "Été"):
            url = "https://zed.example/login" if name == "axb" else "https://portal.example/login"
            make_job(session, viewer, accounts=0, name=name, login_url=url)
        jobs, _ = list_jobs(session, viewer, q=q)
        assert {j.name for j in jobs} == expected


def test_lists_and_counts_by_status_show_only_ones_own(engine: Engine, viewer: Viewer) -> None:
    with transaction(engine) as session:
        other, admin = make_viewer(session, "other"), make_viewer(session, "root", Role.ADMIN)
        make_job(session, viewer, accounts=0, status=JobStatus.FAILED)
        make_job(session, viewer, accounts=0)
        make_job(session, other, accounts=0, status=JobStatus.FAILED)
        assert len(list_jobs(session, viewer)[0]) == 2
        assert len(list_jobs(session, viewer, status="failed")[0]) == 1
        assert len(list_jobs(session, admin)[0]) == 3
        assert count_jobs_by_status(session, viewer) == JobCounts({"failed": 1, "idle": 1}, is_all=True)
        assert count_jobs_by_status(session, admin) == JobCounts({"failed": 2, "idle": 1}, is_all=True)
        assert list_owner_names(session, {viewer.user_id, "nobody"}) == {viewer.user_id: "Olive"}


# Of very many jobs


@pytest.fixture
def short_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page looks through four jobs."""
    monkeypatch.setattr(db.job_lists, "LOOKED_THROUGH", 4)


def make_row_of_jobs(engine: Engine, viewer: Viewer, statuses: str) -> None:
    """A job for each letter, the newest first: f failed, c completed; its name is its place."""
    letters = {"f": JobStatus.FAILED, "c": JobStatus.COMPLETED}
    with transaction(engine) as session:
        for place, letter in enumerate(statuses):
            created_at = NOW - timedelta(days=place)
            make_job(session, viewer, accounts=0, name=f"job {place}", status=letters[letter], created_at=created_at)


def read_pages(engine: Engine, viewer: Viewer, **filters: str) -> Sequence[Sequence[str]]:
    """The names on each page of three, to the last."""
    pages: list[list[str]] = []
    cursor: JobCursor | None = None
    while cursor is not None or not pages:
        with transaction(engine) as session:
            jobs, cursor = list_jobs(session, viewer, cursor=cursor, limit=3, **filters)
        pages.append([job.name for job in jobs])
    return pages


@pytest.mark.usefixtures("short_sight")
@pytest.mark.parametrize(
    ("statuses", "pages"),
    [
        ("fffff", [["job 0", "job 1", "job 2"], ["job 3", "job 4"]]),
        ("cfccccccfc", [["job 1"], [], ["job 8"]]),
        ("ccccf", [[], ["job 4"]]),
        ("cccc", [[]]),
        ("ccccc", [[], []]),
        ("ffffcccc", [["job 0", "job 1", "job 2"], ["job 3"], []]),
    ],
)
def test_a_status_is_looked_for_a_part_at_a_time(
    engine: Engine, viewer: Viewer, statuses: str, pages: list[list[str]]
) -> None:
    make_row_of_jobs(engine, viewer, statuses)
    assert read_pages(engine, viewer, status="failed") == pages


@pytest.mark.usefixtures("short_sight")
def test_a_search_is_made_a_part_at_a_time_and_finds_all(engine: Engine, viewer: Viewer) -> None:
    make_row_of_jobs(engine, viewer, "c" * 21)
    assert read_pages(engine, viewer, q="job 1") == [
        ["job 1"],
        [],
        ["job 10", "job 11"],
        ["job 12", "job 13", "job 14"],
        ["job 15", "job 16", "job 17"],
        ["job 18", "job 19"],
    ]


@pytest.mark.usefixtures("short_sight")
def test_a_list_without_a_search_has_full_pages(engine: Engine, viewer: Viewer) -> None:
    make_row_of_jobs(engine, viewer, "c" * 9)
    assert [len(page) for page in read_pages(engine, viewer)] == [3, 3, 3]


@pytest.mark.usefixtures("short_sight")
def test_live_jobs_are_found_wherever_they_are(engine: Engine, viewer: Viewer) -> None:
    make_row_of_jobs(engine, viewer, "c" * 9)
    with transaction(engine) as session:
        make_run(session, make_job(session, viewer, name="an old one", created_at=NOW - timedelta(days=99)))
    assert read_pages(engine, viewer, status="queued") == [["an old one"]]


@pytest.mark.usefixtures("short_sight")
def test_of_very_many_jobs_the_newest_are_counted(engine: Engine, viewer: Viewer) -> None:
    make_row_of_jobs(engine, viewer, "fcfccffff")
    with transaction(engine) as session:
        assert count_jobs_by_status(session, viewer) == JobCounts({"failed": 2, "completed": 2}, is_all=False)
        assert count_all_jobs_by_status(session) == {"failed": 6, "completed": 3}
