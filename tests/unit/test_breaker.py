"""The rule by which the breaker of a portal opens."""

import pytest

from db.breaker import WINDOW, add_sign_in, judge_sign_ins


def feed(answers: str) -> list[bool]:
    recent: list[bool] = []
    for answer in answers:
        recent = add_sign_in(recent, is_refused=answer == "x")
        assert len(recent) <= WINDOW
    return recent


@pytest.mark.parametrize(
    "answers", ["", "xxxx", "xxxx.x....xxx", ".xxxx.x", "xx.xx.x.", "x.x.x.x.x.", "x.x.x.x.x.......x", "." * 50]
)
def test_breaker_stays_closed(answers: str) -> None:
    assert judge_sign_ins(feed(answers)) is None


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ("xxxxx", "the portal refused 5 sign-ins in a row"),
        ("...xxxxx", "the portal refused 5 sign-ins in a row"),
        ("xxx.xxx", "the portal refused 6 of the last 7 sign-ins"),
        ("....xxx.xxx", "the portal refused 6 of the last 7 sign-ins"),
        ("x.xx.x.x.x", "the portal refused 6 of the last 10 sign-ins"),
        ("x......xx.xx.x.x", "the portal refused 6 of the last 9 sign-ins"),
    ],
)
def test_breaker_opens(answers: str, reason: str) -> None:
    assert judge_sign_ins(feed(answers)) == reason


def test_sign_ins_before_the_first_refused_one_need_not_be_kept() -> None:
    assert feed("." * 20) == []
    assert feed("....x.") == [True, False]
    assert feed("x" + "." * WINDOW) == []
