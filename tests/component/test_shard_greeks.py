"""Greeks of a real shard: the table that the operator plans, the simulator's market, what Redis holds in the end.

Proved: each option has Greeks that an independent calculation from its published row gives too; they are on the
underlying's newest price although the option does not trade; and what is published again is no trade. The underlyings
are references only: no subscription asks for them, and no channel has them.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.pool import Pool, a_subscription, an_account
from tests.support.pricing import implied, published
from tests.support.shard import WAIT_S, ShardFolder, ShardProcess, free_channels, last_rows, shard_process
from tests.support.shard_checks import books
from tests.support.simulator import SimulatorProcess, simulator
from ticker_crds import AssignedInstrument, AssignmentTable
from ticker_operator.model import InstrumentCatalog
from ticker_operator.planning import parse_dump

CHANNEL = "ticker:nifty:options"
DAY = dt.date(2026, 11, 20)
INDIA = dt.timezone(dt.timedelta(hours=5, minutes=30))
CLOSE = dt.time(15, 40)
RATE = 0.065
REPRICE_MS = 200
WITHIN_S = 90.0  # a bound for busy machines, not a figure
TICKS_PER_SECOND = 40  # over fifteen instruments: each rests long enough to be overtaken by its underlying
PAIRS, SINGLES = 4, 5  # strikes of the monthly chain, calls of the weekly one


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorProcess]:
    with simulator(seed=5, day=DAY.isoformat(), ticks_per_second=TICKS_PER_SECOND, accept_any=False) as running:
        yield running


@pytest.fixture(scope="module")
def catalog(sim: SimulatorProcess) -> InstrumentCatalog:
    head = {"Authorization": "token simkey1:simtoken1", "X-Kite-Version": "3"}
    request = urllib.request.Request(f"{sim.url}/instruments", headers=head)
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        return parse_dump(answer.read(), endpoint="simulator")


def near_the_money(catalog: InstrumentCatalog) -> tuple[list[str], list[str]]:
    """Calls and puts of the first expiry that a future shares, and calls alone of one that none does."""
    rows = [catalog.row(place) for place in range(*catalog.exchanges["NFO"])]
    nifty = [row for row in rows if row.name == "NIFTY" and row.expiry is not None]
    futures = {row.expiry for row in nifty if row.instrument_type == "FUT"}
    expiries = sorted({row.expiry for row in nifty if row.expiry is not None})
    monthly = next(expiry for expiry in expiries if expiry in futures)
    weekly = next(expiry for expiry in expiries if expiry not in futures)

    def chain(expiry: dt.date, kind: str, number: int) -> list[str]:
        listed = [row for row in nifty if (row.expiry, row.instrument_type) == (expiry, kind)]
        listed.sort(key=lambda row: float(row.strike))
        middle = len(listed) // 2
        return [row.symbol for row in listed[middle - number // 2 :][:number]]

    return chain(monthly, "CE", PAIRS) + chain(monthly, "PE", PAIRS), chain(weekly, "CE", SINGLES)


def planned(catalog: InstrumentCatalog) -> AssignmentTable:
    """What the operator writes for one account whose subscription asks for these options and nothing else."""
    monthly, weekly = near_the_money(catalog)
    pool = Pool([an_account("acc1")], [a_subscription("s", [*monthly, *weekly], greeks=True)], 0)
    pool.catalog = catalog
    pool.settle()
    table = pool.tables["acc1"].table
    assert table is not None
    return table


@pytest.fixture
def folder(tmp_path: Path, sim: SimulatorProcess, catalog: InstrumentCatalog) -> ShardFolder:
    sim.control.resume()
    made = ShardFolder(tmp_path / "acc1")
    made.create()
    made.give_token("simkey1", "simtoken1")
    made.assign(planned(catalog))
    return made


@pytest.fixture
def shard(folder: ShardFolder, tmp_path: Path, sim: SimulatorProcess, redis_url: str) -> Iterator[ShardProcess]:
    url_file = tmp_path / "redis-url"
    url_file.write_text(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        free_channels(client, (CHANNEL,))
    settings = {"drain_deadline_s": 0.5, "confirm_after_s": 5, "reprice_ms": REPRICE_MS, "rate": RATE}
    with shard_process(folder, redis_url_file=url_file, ticker_url=sim.ws, **settings) as running:
        yield running
    sim.control.resume()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connected:
        yield connected


def instruments(folder_table: AssignmentTable, *, references: bool) -> dict[str, AssignedInstrument]:
    return {row.symbol: row for row in folder_table.instruments if row.is_reference is references}


def newest(sim: SimulatorProcess) -> dict[int, dict[str, Any]]:
    """The last row that the broker sent of each instrument, by token."""
    return {token: sent.row for token, sent in sim.control.stats(api_key="simkey1").tokens.items()}


def repriced(folder: ShardFolder) -> int:
    return int(folder.status().get("greeks", {}).get("repriced", 0))


def underlying_of(option: AssignedInstrument, table: AssignmentTable) -> AssignedInstrument:
    references = instruments(table, references=True).values()
    same_day = [row for row in references if row.expiry == option.expiry]
    return same_day[0] if same_day else next(row for row in references if row.token == option.underlying_token)


def on_newest_prices(
    client: redis.Redis, sim: SimulatorProcess, table: AssignmentTable, options: dict[str, AssignedInstrument]
) -> bool:
    rows, sent = last_rows(client, CHANNEL), newest(sim)
    return all(
        rows.get(symbol, {}).get("underlying_price") == sent[underlying_of(option, table).token]["last_price"] / 100
        for symbol, option in options.items()
    )


def agrees(row: dict[str, Any], option: AssignedInstrument, *, priced_on: AssignedInstrument, newest_s: int) -> bool:
    """Whether some second between the row's own and the market's newest gives these Greeks."""
    ends_s = dt.datetime.combine(dt.date.fromisoformat(option.expiry), CLOSE, INDIA).timestamp()
    made_s = int(dt.datetime.fromisoformat(row["exchange_timestamp"]).timestamp())
    carry = 0.0 if priced_on.instrument_type == "FUT" else RATE
    for second in range(made_s, newest_s + 1):
        years = (ends_s - second) / (365 * 86_400)
        growth = math.exp(carry * years)
        forward = row["underlying_price"] * growth
        call = option.instrument_type == "CE"
        answer = implied(
            call=call, price=row["last_price"], forward=forward, strike=float(option.strike), years=years, rate=RATE
        )
        if answer is None:
            continue
        expected = published(answer, forward=forward, growth=growth, carry=carry)
        pairs = [(row[name], getattr(expected, name)) for name in ("iv", "delta", "gamma", "theta", "vega")]
        if all(math.isclose(told, known, rel_tol=1e-8) for told, known in pairs):
            return True
    return False


def test_options_carry_the_greeks_of_their_own_row_on_the_newest_price_of_their_underlying(
    shard: ShardProcess, folder: ShardFolder, client: redis.Redis, sim: SimulatorProcess, catalog: InstrumentCatalog
) -> None:
    table = planned(catalog)
    options = instruments(table, references=False)
    shard.await_acknowledged(1, within_s=WITHIN_S)
    shard.wait_until(
        lambda: folder.status().get("greeks", {}).get("repriced", 0) > 50, "options follow", within_s=WITHIN_S
    )

    assert sim.control.pause(finish=True)
    shard.wait_until(lambda: on_newest_prices(client, sim, table, options), "on the newest prices", within_s=WITHIN_S)

    rows = last_rows(client, CHANNEL)
    newest_s = max(row.get("exchange_timestamp", 0) for row in newest(sim).values())
    assert set(rows) == set(options), "references are published nowhere"
    wrong = [
        symbol
        for symbol, option in options.items()
        if not agrees(rows[symbol], option, priced_on=underlying_of(option, table), newest_s=newest_s)
    ]
    assert wrong == []
    assert shard.terminate() == 0
    status = folder.status()
    assert books(status["ledger"]) == 0
    assert status["greeks"]["by_outcome"].keys() <= {"priced", "no_underlying"}
    assert status["ledger"]["repeated"] >= status["greeks"]["repriced"] > 0


def test_what_is_priced_again_is_published_again_and_is_no_trade(
    shard: ShardProcess, folder: ShardFolder, redis_url: str
) -> None:
    computed = {"iv", "delta", "gamma", "theta", "vega", "underlying_price", "no_greeks", "priced_at"}
    seen: dict[tuple[str, str], list[dict[str, Any]]] = {}
    with redis.Redis.from_url(redis_url) as client, client.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(CHANNEL)
        shard.await_acknowledged(1, within_s=WITHIN_S)

        def again() -> list[list[dict[str, Any]]]:
            while (message := channel.get_message(timeout=0.05)) is not None:
                for row in json.loads(message["data"])["ticks"]:
                    seen.setdefault((row["symbol"], row["received_at"]), []).append(row)
            return [rows for rows in seen.values() if len({row.get("underlying_price") for row in rows}) > 1]

        shard.wait_until(lambda: len(again()) >= 20, "options are published again", within_s=WITHIN_S)

    for rows in again_rows(seen):
        first, *later = rows
        assert all(row["priced_at"] > row["received_at"] for row in later if row != first)
        told = [{name: value for name, value in row.items() if name not in computed} for row in rows]
        assert all(row == told[0] for row in told), "nothing that the broker sends differs"
    assert shard.terminate() == 0
    assert books(folder.status()["ledger"]) == 0


def again_rows(seen: dict[tuple[str, str], list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    return [rows for rows in seen.values() if len(rows) > 1]
