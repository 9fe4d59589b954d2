"""The broker's list: renewed each trading day, kept when a fetch fails; nobody waits for another's endpoint."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from ticker_operator.model import InstrumentCatalog
from ticker_operator.planning import parse_dump
from ticker_operator.reconcile.instruments import InstrumentRegistry, dump_day, trading_day
from ticker_operator.reconcile.ports import Unreachable

HEAD = (
    b"instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,"
    b"instrument_type,segment,exchange\n"
)
ONE = HEAD + b"408065,1594,INFY,INFOSYS,0,,0,0.05,1,EQ,NSE,NSE\n"
TWO = ONE + b"2953217,11536,TCS,TATA,0,,0,0.05,1,EQ,NSE,NSE\n"


class World:
    """Endpoints, two clocks."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.wall = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)  # 09:30 in India
        self.clock = 0.0
        self.registry = InstrumentRegistry(
            self, parse=_parse, wall=lambda: self.wall, clock=lambda: self.clock, chance=lambda: 0.999
        )

    async def fetch_dump(self, endpoint: str) -> bytes:
        self.asked.append(endpoint)
        if endpoint not in self.answers:
            raise Unreachable(f"{endpoint}: refused")
        return self.answers[endpoint]


def _parse(raw: bytes, endpoint: str) -> InstrumentCatalog:
    return parse_dump(raw, endpoint=endpoint)


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(
    ("utc", "day"),
    [
        ("2026-11-20T02:29:59", date(2026, 11, 19)),
        ("2026-11-20T02:30:00", date(2026, 11, 20)),
        ("2026-11-20T20:00:00", date(2026, 11, 20)),
    ],
    ids=["07:59:59 in India", "08:00 in India", "01:30 in India on the next day"],
)
def test_new_list_is_due_from_eight_in_the_morning_in_india(utc: str, day: date) -> None:
    assert dump_day(datetime.fromisoformat(utc).replace(tzinfo=UTC)) == day


def test_contracts_expire_by_the_calendar_of_india() -> None:
    assert trading_day(datetime(2026, 11, 20, 20, 0, tzinfo=UTC)) == date(2026, 11, 21)


async def test_list_is_fetched_once_a_day(world: World) -> None:
    world.answers["a"] = ONE
    world.registry.follow(["a"])

    assert await world.registry.refresh()
    assert not await world.registry.refresh()
    world.wall += timedelta(days=1)
    world.answers["a"] = TWO

    assert await world.registry.refresh()
    assert world.asked == ["a", "a"]
    best = world.registry.best()
    assert best is not None
    assert len(best) == 2


async def test_failed_fetch_keeps_yesterdays_list(world: World) -> None:
    world.answers["a"] = TWO
    world.registry.follow(["a"])
    await world.registry.refresh()
    world.wall += timedelta(days=1)
    del world.answers["a"]

    changed = await world.registry.refresh()

    assert changed, "the reason is something a status says"
    best = world.registry.best()
    assert best is not None
    assert len(best) == 2
    assert world.registry.faults() == {"a": "a: refused"}


async def test_nonsense_is_not_taken_for_a_list(world: World) -> None:
    world.answers["a"] = ONE
    world.registry.follow(["a"])
    await world.registry.refresh()
    world.wall += timedelta(days=1)
    world.answers["a"] = b"<html>maintenance</html>"

    await world.registry.refresh()

    assert world.registry.state("a").catalog is not None
    assert world.registry.faults()["a"]


async def test_unreachable_endpoint_waits_alone(world: World) -> None:
    world.answers["b"] = ONE
    world.registry.follow(["a", "b"])
    await world.registry.refresh()

    for _ in range(5):
        await world.registry.refresh()

    assert world.asked == ["a", "b"], "the failed one is not asked again before its time"
    assert world.registry.best() is not None
    world.clock += 60
    await world.registry.refresh()
    assert world.asked == ["a", "b", "a"]


async def test_endpoint_that_no_account_names_any_more_is_forgotten(world: World) -> None:
    world.answers["a"] = ONE
    world.registry.follow(["a"])
    await world.registry.refresh()

    world.registry.follow(["b"])

    assert world.registry.best() is None
    assert world.registry.state("a").catalog is None


async def test_today_s_list_is_better_than_yesterdays_of_the_preferred_endpoint(world: World) -> None:
    world.answers = {"a": ONE, "b": ONE}
    world.registry.follow(["a", "b"])
    await world.registry.refresh()
    world.wall += timedelta(days=1)
    world.answers = {"b": TWO}

    await world.registry.refresh()

    best = world.registry.best()
    assert best is not None
    assert best.endpoint == "b"
