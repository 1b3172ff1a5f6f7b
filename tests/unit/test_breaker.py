"""The breaker of a run: when it opens, and that it stays open."""

import pytest

from portal_import.breaker import Breaker


def feed(answers: str) -> Breaker:
    breaker = Breaker()
    for answer in answers:
        breaker.record(refused=answer == "x")
    return breaker


@pytest.mark.parametrize("answers", ["", "xxxx", "xxxx.xxxx", "xx.xx.xx.", "x.x.x.x.x.x.", "." * 50])
def test_breaker_stays_closed(answers: str) -> None:
    assert feed(answers).reason is None


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ("xxxxx", "the portal refused 5 sign-ins in a row"),
        ("...xxxxx", "the portal refused 5 sign-ins in a row"),
        ("xxx.xxx...", "the portal refused 6 of the last 10 sign-ins"),
        (".....xxx.xxx.", "the portal refused 6 of the last 10 sign-ins"),
    ],
)
def test_breaker_opens(answers: str, reason: str) -> None:
    assert feed(answers).reason == reason


def test_open_breaker_is_not_closed_by_a_sign_in_that_was_under_way() -> None:
    breaker = feed("xxxxx")
    breaker.record(refused=False)
    assert breaker.reason == "the portal refused 5 sign-ins in a row"
