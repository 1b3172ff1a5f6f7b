"""Addresses that are never connected to, and those that a setting decides about."""

import pytest

from portal_import.engine.networks import refuse_address

NEVER = (
    "169.254.169.254",
    "169.254.0.1",
    "169.254.255.254",
    "fe80::1",
    "fe80::a9fe:a9fe",
    "febf::1",
    "fe80::1%2",
    "fd00:ec2::254",
    "fd00:c1::a9fe:a9fe",
    "fd20:ce::254",
    "fd00:42::42",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "::ffff:100.100.100.200",
    "2001:0:a9fe:a9fe::1",
    "0.0.0.0",  # noqa: S104
    "0.1.2.3",
    "::",
    "::ffff:0.0.0.0",
    "224.0.0.1",
    "239.255.255.250",
    "ff02::1",
    "255.255.255.255",
)
INTERNAL = (
    "127.0.0.1",
    "127.255.255.254",
    "::1",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "240.0.0.1",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "2002:a00:1::1",
)
PUBLIC = (
    "8.8.8.8",
    "169.253.255.255",
    "169.255.0.0",
    "172.32.0.1",
    "100.128.0.1",
    "168.63.129.17",
    "2606:4700::1111",
    "2a00:1450::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
)


@pytest.mark.parametrize("address", NEVER)
@pytest.mark.parametrize("allows_private", [True, False])
def test_address_is_refused_whatever_the_setting(address: str, allows_private: bool) -> None:
    why = refuse_address(address, allows_private=allows_private)
    assert why is not None
    assert "PUNCTUAL_PRIVATE_NETWORKS" not in why


@pytest.mark.parametrize("address", INTERNAL)
def test_internal_address_is_refused_only_by_the_setting(address: str) -> None:
    assert refuse_address(address, allows_private=True) is None
    why = refuse_address(address, allows_private=False)
    assert why is not None
    assert why.endswith("and PUNCTUAL_PRIVATE_NETWORKS is set to refuse those")


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_allowed(address: str) -> None:
    assert refuse_address(address, allows_private=False) is None


def test_words_say_which_address_and_what_it_stands_for() -> None:
    assert refuse_address("169.254.169.254", allows_private=True) == (
        "169.254.169.254 is a link-local address, which is never connected to"
    )
    assert refuse_address("::ffff:10.0.0.1", allows_private=False) == (
        "::ffff:a00:1, which stands for 10.0.0.1, is an address of a private network,"
        " and PUNCTUAL_PRIVATE_NETWORKS is set to refuse those"
    )
