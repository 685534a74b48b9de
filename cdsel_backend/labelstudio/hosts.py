"""Which hosts an image may be read from: the internet, and of the own network what the server's settings name.

A task's data are written by anybody with an account of Label Studio. Without a bound, an image address would be a way
to ask this machine's neighbours, and to learn from the reason shown which of them answer. So a name is resolved first,
every address that it has is looked at, and the connection goes to one of those very addresses: what the name leads to a
moment later does not matter. That holds for each step of a redirect, since each makes its connection here.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from cdsel_backend.labelstudio.deadline import timed
from cdsel_backend.labelstudio.trust import certificates
from cdsel_backend.settings import names_in

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

CONNECT_SECONDS = 15.0
READ_SECONDS = 60.0
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # the last 32 bits are an IPv4 address


class PrivateAddress(Exception):
    """A host is, or may be, on a private network, and no setting allows it."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host} is no public address, so nothing is asked there; where its images are meant, the administrator of "
            "this server can add it to CDSEL_IMAGE_HOSTS"
        )


@dataclass(frozen=True)
class ImageHosts:
    """The hosts of the own network that images may be read from."""

    names: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> ImageHosts:
        """Read `pacs.local, *.lan, 10.0.0.0/8`."""
        names: set[str] = set()
        suffixes, networks = [], []
        for part in names_in(text):
            try:
                networks.append(ipaddress.ip_network(part.strip("[]"), strict=False))
            except ValueError:
                if part.startswith("*."):
                    suffixes.append(_plain(part[1:]))
                else:
                    names.add(_plain(part))
        return cls(frozenset(names), tuple(suffixes), tuple(networks))

    def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a host, as numbers, all of which may be asked.

        Raises:
            PrivateAddress: one of them may not.
            OSError: the host has no address.
        """
        # The system's own reading, by which 2130706433, 0x7f.1 and 127.1 are 127.0.0.1, too.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        named = _plain(host) in self.names or _plain(host).endswith(self.suffixes or ("\0",))
        if not named and not all(self._allows(address) for address in addresses):
            raise PrivateAddress(host)
        return addresses

    def _allows(self, text: str) -> bool:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
        inner = [address, *_embedded(address)]
        if any(ip in network for ip in inner for network in self.networks if ip.version == network.version):
            return True
        return all(_is_public(ip) for ip in inner)


def _embedded(address: Address) -> Iterable[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address leads to, in the forms that gateways and systems know."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in NAT64 or int(address) < 2**32:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None or address in NAT64:
            return True  # judged by the address within
        if address.is_site_local:
            return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback
    )


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


class _Pinned(httpcore.NetworkBackend):
    """Makes connections to hosts that may be asked, at the very addresses that were looked at."""

    def __init__(self, hosts: ImageHosts) -> None:
        self._hosts = hosts
        self._network = httpcore.SyncBackend()

    def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore.NetworkStream:
        try:
            addresses = self._hosts.resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} has no address") from error
        for address in addresses[:-1]:
            try:
                return self._network.connect_tcp(address, port, *args, **options)
            except httpcore.ConnectError:
                continue
        return self._network.connect_tcp(addresses[-1], port, *args, **options)


class _PinnedTransport(httpx.HTTPTransport):
    """httpx's own transport, on connections that are made by `_Pinned`."""

    def __init__(self, hosts: ImageHosts) -> None:
        super().__init__(verify=certificates())
        self._pool = httpcore.ConnectionPool(
            ssl_context=certificates(), max_connections=20, network_backend=_Pinned(hosts)
        )


def no_cookies() -> CookieJar:
    """A jar that takes none: what one host sets is nothing to the next request."""
    return CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))


class PublicHosts:
    """GET from hosts that may be asked. Follows no redirect by itself; may be used from several threads."""

    def __init__(self, hosts: ImageHosts) -> None:
        self._hosts = hosts
        timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        self._direct = timed(
            httpx.Client(transport=_PinnedTransport(hosts), timeout=timeout, cookies=no_cookies())
        )
        # Through a proxy of the environment, it is the proxy that resolves the name.
        self._by_proxy = timed(httpx.Client(timeout=timeout, cookies=no_cookies(), verify=certificates()))

    def client(self, url: str) -> httpx.Client:
        """The client for an address.

        Raises:
            PrivateAddress: its requests would go through a proxy, and it is no public address as far as we can see.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        proxies = getproxies()
        if not (proxies.get(parts.scheme) or proxies.get("all")) or proxy_bypass(host):
            return self._direct
        with suppress(OSError):  # it may be that only the proxy knows the names of the internet
            self._hosts.resolve(host, parts.port or 0)
        return self._by_proxy
