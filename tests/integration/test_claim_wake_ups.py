"""A wake-up to claim is an errand for a service with a free slot only."""

import pytest
from sqlalchemy import Engine

from db.wake import Wake
from scheduler_service.clock import Clock, Step
from scheduler_service.service import SchedulerService
from settings import Settings


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the steps that were given a turn."""
    names: list[str] = []

    def note(_clock: Clock, step: Step) -> None:
        names.append(step.name)

    monkeypatch.setattr(Clock, "run_soon", note)
    return names


def test_free_slot_is_offered_what_was_queued(engine: Engine, woken: list[str]) -> None:
    SchedulerService(engine, Settings(slots=1)).wake(Wake.CLAIM)
    assert woken == ["claim"]


def test_no_turn_is_taken_without_a_slot(engine: Engine, woken: list[str]) -> None:
    service = SchedulerService(engine, Settings(slots=0))
    service.wake(Wake.CLAIM)
    assert woken == []
    service.wake(Wake.FIRE)
    assert woken == ["fire"]
