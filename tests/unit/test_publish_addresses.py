"""A Redis URL says one server, Sentinels or a cluster; what it holds is in no message."""

from __future__ import annotations

import pytest

from ticker_shard.publish.addresses import Topology, parse_address


def test_sentinels_their_service_and_the_masters_url():
    address = parse_address(
        "rediss+sentinel://me:s3c%2Fret@one:26380,two/prices/3?ssl_ca_certs=/ca.pem&sentinel_password=guard"
    )

    assert address.topology is Topology.SENTINEL
    assert address.hosts == (("one", 26380), ("two", 26379))
    assert (address.service, address.sentinel_password) == ("prices", "guard")
    assert address.server("10.0.0.7", 6380) == "rediss://me:s3c%2Fret@10.0.0.7:6380/3?ssl_ca_certs=%2Fca.pem"
    assert "s3c" not in repr(address)
    assert "guard" not in repr(address)


def test_a_cluster_and_the_url_of_a_node():
    address = parse_address("redis+cluster://:pw@[::1]:7000,b")

    assert (address.topology, address.hosts) == (Topology.CLUSTER, (("::1", 7000), ("b", 6379)))
    assert address.server("::1", 7001) == "redis://:pw@[::1]:7001/0"


@pytest.mark.parametrize("url", ["redis://h:6379/0", "rediss://u:p@h", "unix:///run/redis.sock"])
def test_one_server_is_left_to_the_library(url):
    assert parse_address(url).topology is Topology.SINGLE


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://h",
        "redis://",
        "redis://h:port",
        "redis+sentinel://h",
        "redis+sentinel://h/",
        "redis+sentinel:///service",
        "redis+sentinel://h:s3cret-port/service",
        "redis+cluster://a,,b",
        "redis+nothing://h",
    ],
)
def test_what_cannot_be_used_is_not_repeated(url):
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - every word counts, below
        parse_address(url)
    assert "s3cret" not in str(raised.value)
