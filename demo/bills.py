"""Which bills an account has on a given day, and what is on them.

A bill depends only on its account and the month it was issued in, so the same bill has the same
content whenever it is looked at. All bills of a month are issued by its 28th and become visible on the
1st of the next, so what the portal shows changes only at the turn of a month.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

from demo.accounts import Account

UNIT_RATE = Decimal("0.2864")
STANDING_CHARGE_PER_DAY = Decimal("0.4120")
VAT_RATE = Decimal("0.20")
CREDIT = Decimal("5.00")

_CENT = Decimal("0.01")
# Share of the yearly average used in January, February, …
_SEASON = (1.32, 1.27, 1.14, 0.98, 0.86, 0.77, 0.74, 0.78, 0.87, 1.00, 1.18, 1.29)


@dataclass(frozen=True)
class UsageDay:
    on: date
    kwh: Decimal
    cost: Decimal


@dataclass(frozen=True)
class Bill:
    """One monthly bill. Amounts are in `currency`; `days` covers the whole billing period. A corrected bill has a
    `credit`."""

    number: str
    account: Account
    issued_on: date
    due_on: date
    days: tuple[UsageDay, ...]
    credit: Decimal = Decimal(0)

    @property
    def currency(self) -> str:
        return self.account.currency

    @property
    def kwh(self) -> Decimal:
        return sum((day.kwh for day in self.days), Decimal(0))

    @property
    def energy(self) -> Decimal:
        return sum((day.cost for day in self.days), Decimal(0))

    @property
    def standing_charge(self) -> Decimal:
        return _to_cents(STANDING_CHARGE_PER_DAY * len(self.days))

    @property
    def vat(self) -> Decimal:
        return _to_cents((self.energy + self.standing_charge) * VAT_RATE)

    @property
    def amount(self) -> Decimal:
        return self.energy + self.standing_charge + self.vat - self.credit


def list_bills(account: Account, today: date, *, is_corrected: bool = False) -> list[Bill]:
    """The account's bills that are online on `today`, newest first, and that one corrected if so it is."""
    current = _month_index(today)
    bills = [_make_bill(account, current - age) for age in range(1, account.bills_online + 1)]
    return [replace(bills[0], credit=CREDIT), *bills[1:]] if is_corrected else bills


def describe_status(bill: Bill, today: date) -> str:
    """`Open` for the newest bill, else `Paid`; a fourth-newest bill is still `Overdue`."""
    age = _month_index(today) - _month_index(bill.issued_on)
    return {1: "Open", 4: "Overdue"}.get(age, "Paid")


@lru_cache(maxsize=512)
def _make_bill(account: Account, month: int) -> Bill:
    first_day, last_day = _day_of_month(month - 1, 21), _day_of_month(month, 20)
    length = (last_day - first_day).days + 1
    return Bill(
        number=f"00{account.customer_number[-5:]}{month % 10_000:04d}",
        account=account,
        issued_on=_day_of_month(month, 22 + int(_noise(account, "issue day") * 7)),
        # Two months on: a bill is never past due while it is the newest one.
        due_on=_day_of_month(month + 2, 1 + int(_noise(account, "due day") * 6)),
        days=tuple(_make_usage_day(account, first_day + timedelta(days=n)) for n in range(length)),
    )


def _make_usage_day(account: Account, on: date) -> UsageDay:
    swing = 0.75 + 0.5 * _noise(account, on.isoformat())
    kwh = Decimal(account.daily_kwh * _SEASON[on.month - 1] * swing).quantize(_CENT, ROUND_HALF_UP)
    return UsageDay(on=on, kwh=kwh, cost=_to_cents(kwh * UNIT_RATE))


def _noise(account: Account, key: str) -> float:
    """A number in [0, 1) that is the same on every machine and Python version."""
    digest = hashlib.sha256(f"{account.customer_number} {key}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _month_index(on: date) -> int:
    return on.year * 12 + on.month - 1


def _day_of_month(month: int, day: int) -> date:
    return date(month // 12, month % 12 + 1, day)


def _to_cents(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, ROUND_HALF_UP)
