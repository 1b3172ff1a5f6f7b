"""The order of the bills while a run is live."""

import pytest
import streamlit as st

from db.models import Bill
from ui.bills_table import in_order_of_arrival


def test_bills_that_arrive_later_do_not_move_the_rows_above(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(st, "session_state", {})
    ada, ben, zoe = (Bill(id=number) for number in (1, 2, 3))
    assert in_order_of_arrival([ben, zoe], 7) == [ben, zoe]
    assert in_order_of_arrival([ada, ben, zoe], 7) == [ben, zoe, ada]
    assert in_order_of_arrival([ada, ben, zoe], 8) == [ada, ben, zoe]
