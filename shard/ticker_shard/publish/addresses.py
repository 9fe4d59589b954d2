"""What a Redis URL says: one server, a master known to Sentinels, or a cluster. Pure.

============================================================  ======================================================
URL                                                           what it means
============================================================  ======================================================
``redis://``, ``rediss://``, ``unix://``                      one server, as redis-py reads it
``redis+sentinel://host:26379,host:26379/service[/db]``       the master that these Sentinels name for the service
``redis+cluster://host:6379,host:6379``                       the nodes of a cluster, found from any of these
============================================================  ======================================================

``rediss+…`` is the same over TLS. User and password (``user:password@``) are those of the data servers; Sentinels that
want a password get it by ``sentinel_password=…``. All other options go to redis-py for every server
(``ssl_ca_certs=/path``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

SENTINEL_PORT: Final = 26379
CLUSTER_PORT: Final = 6379
SCHEMES: Final = frozenset(
    {"redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"}
)


class Topology(StrEnum):
    """How the server is found."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Address:
    """A Redis URL, taken apart.

    Attributes
    ----------
    hosts
        Where to ask first; empty for a single server.
    service
        What Sentinels call the master.
    sentinel_password
        `None` where they want none.
    """

    topology: Topology
    url: str = field(repr=False)
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_password: str | None = field(default=None, repr=False)

    def server(self, host: str, port: int) -> str:
        """The URL of one data server, with this one's credentials and options."""
        parts = urlsplit(self.url)
        credentials = parts.netloc.rpartition("@")[0]
        netloc = f"{host}:{port}" if ":" not in host else f"[{host}]:{port}"
        number = parts.path.split("/")[2] if self.topology is Topology.SENTINEL and parts.path.count("/") > 1 else "0"
        options = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name != "sentinel_password"])
        scheme = parts.scheme.partition("+")[0]
        return f"{scheme}://{credentials}{'@' if credentials else ''}{netloc}/{number}{'?' if options else ''}{options}"


def parse_address(url: str) -> Address:
    """Take a URL apart.

    Raises
    ------
    ValueError
        When it cannot be used; the words do not repeat it.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError("not a Redis URL")
    _, _, form = parts.scheme.partition("+")
    if not form:
        _host(parts.netloc.rpartition("@")[2] or "-", CLUSTER_PORT)
        if not parts.hostname and parts.scheme != "unix":
            raise ValueError("a Redis URL without a host")
        return Address(Topology.SINGLE, url)
    topology = Topology(form)
    default = SENTINEL_PORT if topology is Topology.SENTINEL else CLUSTER_PORT
    hosts = tuple(_host(text, default) for text in parts.netloc.rpartition("@")[2].split(","))
    service = unquote(parts.path.split("/")[1]) if topology is Topology.SENTINEL and "/" in parts.path else ""
    if topology is Topology.SENTINEL and not service:
        raise ValueError("a Sentinel URL without the service's name")
    return Address(topology, url, hosts, service, dict(parse_qsl(parts.query)).get("sentinel_password"))


def _host(text: str, default: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    try:
        port = parts.port or default
    except ValueError:
        raise ValueError("a Redis URL with a port that is none") from None
    if not parts.hostname:
        raise ValueError("a Redis URL without a host")
    return parts.hostname, port
