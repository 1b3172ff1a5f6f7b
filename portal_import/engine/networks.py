"""Which network addresses no engine connects to, so that a portal can't lead the import to where it does not belong.

The rule is about the address that is really connected to, whatever name or redirect led there: an engine asks when
it opens a connection, not when it reads a URL, so a name that meanwhile leads elsewhere changes nothing.
"""

import socket
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

# An error number that no system uses. aiohttp joins the errors of a host's addresses into one, and of what they were
# keeps only a number that all of them share.
REFUSED_ERRNO = 100_169
_JOINED = "Multiple exceptions: "

# Where machines in a cloud are told their own secrets. Those at 169.254.x.x and fe80:: are link-local anyway.
_METADATA = tuple(
    ip_network(network)
    for network in (
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure
        "192.0.0.192/32",  # Oracle
        "fd00:c1::a9fe:a9fe/128",  # Oracle
        "fd00:ec2::/32",  # Amazon
        "fd20:ce::254/128",  # Google
        "fd00:42::42/128",  # Scaleway
    )
)
# IPv6 addresses by which an IPv4 one is reached: compatible ones, and those of NAT64.
_HOLDING_IPV4 = tuple(ip_network(network) for network in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48"))

AddressInfo = tuple[Any, Any, int, str, tuple[Any, ...]]  # as getaddrinfo() gives them


class AddressRefusedError(OSError):
    """The rule forbids to connect to this address."""

    def __init__(self, why: str) -> None:
        super().__init__(REFUSED_ERRNO, why)

    def __str__(self) -> str:
        return str(self.strerror)


@lru_cache(maxsize=1_000)
def refuse_address(address: str, *, allows_private: bool) -> str | None:
    """Why nothing may be sent to this IP address, in words; None when it may."""
    ip = ip_address(address)
    for form in _forms(ip):
        kind = _forbidden_kind(form, allows_private=allows_private)
        if kind is not None:
            return f"{ip} is {kind}" if form == ip else f"{ip}, which stands for {form}, is {kind}"
    return None


def make_socket_factory(*, allows_private: bool) -> Callable[[AddressInfo], socket.socket]:
    """What makes the socket for each address that is about to be connected to; it raises AddressRefusedError."""

    def make_socket(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, where = info
        why = refuse_address(str(where[0]), allows_private=allows_private)
        if why is not None:
            raise AddressRefusedError(why)
        return socket.socket(family, kind, protocol)

    return make_socket


def explain_refusal_of_addresses(error: OSError) -> str | None:
    """Why none of a host's addresses may be connected to; None when the error is about something else."""
    if error.errno != REFUSED_ERRNO:
        return None
    return str(error.strerror).removeprefix(_JOINED)


def _forms(ip: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """The address, and the IPv4 addresses that it stands for."""
    if isinstance(ip, IPv4Address):
        return [ip]
    inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if any(ip in network for network in _HOLDING_IPV4) and int(ip) > 1:  # :: and ::1 are addresses of their own
        inner.append(IPv4Address(int(ip) & 0xFFFFFFFF))
    return [ip, *(form for form in inner if form is not None)]


def _forbidden_kind(ip: IPv4Address | IPv6Address, *, allows_private: bool) -> str | None:
    if ip.is_link_local:
        return "a link-local address, which is never connected to"
    if any(ip in network for network in _METADATA):
        return "an address where cloud machines are told their secrets, which is never connected to"
    if ip.is_unspecified or (ip.version == 4 and ip.packed[0] == 0):
        return "the address of no machine"
    if ip.is_multicast or ip == IPv4Address("255.255.255.255"):
        return "the address of many machines at once"
    if not allows_private and _is_internal(ip):
        kind = "an address of this machine" if ip.is_loopback else "an address of a private network"
        return f"{kind}, and PUNCTUAL_PRIVATE_NETWORKS is set to refuse those"
    return None


def _is_internal(ip: IPv4Address | IPv6Address) -> bool:
    """Whether no address of the public internet. An IPv6 address that stands for an IPv4 one is judged by that."""
    if isinstance(ip, IPv6Address) and ip.is_site_local:
        return True
    return not ip.is_global and len(_forms(ip)) == 1
