"""No portal leads the import into a network where it does not belong: by address, by redirect, by name or by link."""

import asyncio
import socket
from collections import Counter
from typing import Any

import pytest

from db.models import ResultStatus
from portal_import.outcomes import Limits
from tests.portal_server import (
    BILLING_PAGE,
    Route,
    ScriptedPortal,
    Visit,
    answer,
    check_no_secrets,
    ordinary_routes,
    redirect,
    run_import,
    visit,
)

REFUSING = Limits(allows_private_networks=False)
METADATA = "169.254.169.254 is a link-local address, which is never connected to"


def visit_as(host: str, routes: dict[str, Route] | None = None, **options: object) -> Visit:
    """Import from a portal that is named so in the job's URLs."""

    async def scenario() -> Visit:
        async with ScriptedPortal(routes or ordinary_routes()) as portal:
            portal.url = portal.url.replace("127.0.0.1", host)
            return await visit(portal, **options)  # type: ignore[arg-type]

    return asyncio.run(scenario())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f000001", "0x7f.1", "[::ffff:127.0.0.1]"])
def test_every_way_to_write_this_machine_is_refused_by_the_setting(host: str) -> None:
    made = visit_as(host, limits=REFUSING)
    assert made.portal.requests == []
    assert made.outcome.status == ResultStatus.PORTAL_ERROR
    assert made.outcome.error is not None
    assert made.outcome.error.startswith(f"nothing was sent to {host.strip('[]')}: ")
    assert made.outcome.error.endswith("this machine, and PUNCTUAL_PRIVATE_NETWORKS is set to refuse those")
    assert made.outcome.retry_attempts == 0


@pytest.mark.parametrize("host", ["2130706433", "0177.0.0.1", "127.1"])
def test_number_that_is_no_ordinary_address_is_not_even_looked_up(host: str) -> None:
    made = visit_as(host, limits=REFUSING)
    assert made.portal.requests == []
    assert made.outcome.error == "an address that the portal gave is not valid"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_internal_portals_are_visited_by_default(host: str) -> None:
    made = visit_as(host)
    # A cookie without a domain goes back to the very host that set it, however that is written.
    assert (made.outcome.status, made.portal.count("POST", "/login")) == (ResultStatus.SUCCESS, 1)


@pytest.mark.parametrize(
    ("location", "host", "why"),
    [
        ("http://169.254.169.254/latest/meta-data/", "169.254.169.254", METADATA),
        ("http://0xa9fea9fe/latest/meta-data/", "0xa9fea9fe", METADATA),
        ("http://0xa9.0376.43518/", "0xa9.0376.43518", METADATA),
        (
            "http://[::ffff:169.254.169.254]/",
            "::ffff:169.254.169.254",
            "::ffff:a9fe:a9fe, which stands for 169.254.169.254, is a link-local address, which is never connected to",
        ),
        (
            "http://[fd00:ec2::254]/",
            "fd00:ec2::254",
            "fd00:ec2::254 is an address where cloud machines are told their secrets, which is never connected to",
        ),
        ("http://[::]:80/", "::", ":: is the address of no machine"),
    ],
)
@pytest.mark.parametrize("page", ["GET /login", "GET /billing"])
def test_redirect_to_where_cloud_machines_learn_secrets_is_not_followed(
    page: str, location: str, host: str, why: str
) -> None:
    made = run_import(ordinary_routes() | {page: redirect(location, 302)})
    assert made.outcome.status == ResultStatus.PORTAL_ERROR
    assert made.outcome.error == f"nothing was sent to {host}: {why}"
    assert made.portal.count("POST", "/login") == (page == "GET /billing")
    check_no_secrets(made)


def test_bill_at_such_an_address_is_left_out_and_the_others_are_kept() -> None:
    page = BILLING_PAGE.replace("/bills/17.pdf", "http://169.254.169.254/17.pdf")
    made = run_import(ordinary_routes() | {"GET /billing": answer(page)})
    assert made.outcome.status == ResultStatus.PORTAL_ERROR
    assert (
        made.outcome.error
        == f"1 of 2 documents could not be downloaded: nothing was sent to 169.254.169.254: {METADATA}"
    )
    assert [len(bill.documents) for bill in made.outcome.bills] == [0, 1]


@pytest.mark.parametrize("later", ["169.254.169.254", "127.0.0.1"])
def test_name_that_leads_elsewhere_after_the_first_look_is_found_out(
    monkeypatch: pytest.MonkeyPatch, later: str
) -> None:
    """As in DNS rebinding: harmless when it is looked up first, and another machine when the password is sent."""
    looked_up: Counter[str] = Counter()
    ask_system = socket.getaddrinfo

    def resolve(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        if str(host).rstrip(".") != "portal.test":
            return ask_system(host, port, *rest, **options)
        looked_up["portal.test"] += 1
        return ask_system("127.0.0.1" if looked_up["portal.test"] == 1 else later, port, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    made = visit_as("portal.test")
    if later == "127.0.0.1":
        assert made.outcome.status == ResultStatus.SUCCESS
    else:
        assert made.outcome.error == (
            f"the sign-in failed and was not sent a second time: nothing was sent to portal.test: {METADATA}"
        )
        assert made.portal.count("POST", "/login") == 0
    assert looked_up["portal.test"] > 1


def test_name_with_several_addresses_says_all_that_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ask_system = socket.getaddrinfo

    def resolve(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        addresses = ["169.254.169.254", "fe80::1"] if str(host).rstrip(".") == "portal.test" else [host]
        return [found for address in addresses for found in ask_system(address, port, *rest, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    made = visit_as("portal.test")
    assert made.outcome.status == ResultStatus.PORTAL_ERROR
    assert made.outcome.error is not None
    assert "169.254.169.254 is a link-local address" in made.outcome.error
    assert "fe80::1 is a link-local address" in made.outcome.error
    assert "Multiple exceptions" not in made.outcome.error


def test_address_that_is_allowed_is_used_where_another_of_the_same_name_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask_system = socket.getaddrinfo

    def resolve(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        addresses = ["169.254.169.254", "127.0.0.1"] if str(host).rstrip(".") == "portal.test" else [host]
        return [found for address in addresses for found in ask_system(address, port, *rest, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert visit_as("portal.test").outcome.status == ResultStatus.SUCCESS
