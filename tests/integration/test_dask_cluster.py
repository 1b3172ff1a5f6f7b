"""The cluster as the service sees it: an outage is told once, costs nothing, and is told apart from a wrong set-up."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest

from scheduler_service import dask_cluster
from scheduler_service.clock import Clock
from scheduler_service.dask_cluster import DaskCluster
from scheduler_service.dask_executor import DaskExecutor
from scheduler_service.dask_installation import describe_installation
from settings import Settings
from tests.dask_processes import DaskCluster as RealCluster
from tests.scheduler_process import SECRET_KEY

SOON = 30.0


@pytest.fixture
def real(tmp_path: Path) -> Iterator[RealCluster]:
    cluster = RealCluster(tmp_path, {})
    yield cluster
    cluster.end()


def look_at(address: str) -> DaskCluster:
    cluster = DaskCluster(address)
    cluster.introduce(describe_installation("some instance", Settings(secret_key=SECRET_KEY)))  # type: ignore[arg-type]
    cluster.refresh()
    return cluster


def test_outage_is_told_once_and_leaves_no_threads_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 0.2)
    cluster = look_at("tcp://127.0.0.1:1")
    before = threading.active_count()
    for _ in range(5):
        cluster.refresh()
    assert (cluster.name, cluster.threads, cluster.workers) == (None, 0, frozenset())
    assert threading.active_count() == before
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1
    assert "the Dask cluster at tcp://127.0.0.1:1 is away" in caplog.text


def test_address_that_is_none_counts_as_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    assert look_at("nonsense://x").name is None
    assert "unknown address scheme 'nonsense'" in caplog.text


def test_refused_runs_end_and_are_forgotten() -> None:
    ends: Queue[tuple[str, str | None]] = Queue()
    executor = DaskExecutor(DaskCluster("tcp://127.0.0.1:1"), lambda *end: ends.put(end))
    clock = Clock(executor)
    clock.start()
    for name in ("one", "two"):
        clock.run_in_slot(print, "an order", name=name)
    found = {ends.get(timeout=SOON) for _ in range(2)}
    clock.stop()
    assert found == {("one", "the Dask cluster was away"), ("two", "the Dask cluster was away")}
    assert not executor._instances  # APScheduler's own, which shows them nowhere


def test_scheduler_that_cannot_read_our_tasks_gets_none(real: RealCluster, caplog: pytest.LogCaptureFixture) -> None:
    """It would refuse each of them, one after the other."""
    real.start_scheduler(knows_punctual=False)
    cluster = look_at(real.address)
    assert cluster.name is None
    assert "its scheduler cannot load Punctual: No module named 'scheduler_service'" in caplog.text
    cluster.close()
