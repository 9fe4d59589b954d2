"""A pool in a few words, for tests of planning: accounts, subscriptions, a dump, shards that do as they are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from ticker_crds import AssignmentTable
from ticker_operator.model import (
    AccountView,
    Acknowledgement,
    ConditionView,
    Health,
    InstrumentCatalog,
    Plan,
    PoolSnapshot,
    RequestedInstrument,
    Resolution,
    ShardReport,
    ShardView,
    Signs,
    Strategy,
    SubscriptionView,
    TablePlan,
    TableView,
    Verdict,
)
from ticker_operator.planning import next_tables, parse_dump, plan, resolve

TODAY = date(2026, 11, 21)
HEADER = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,"
    "instrument_type,segment,exchange"
)
UNBOUNDED = 1_000_000


def a_dump(*rows: str) -> bytes:
    return "\n".join([HEADER, *rows, ""]).encode()


def an_option(index: int, *, expiry: str = "2026-11-24", name: str = "NIFTY") -> str:
    return f"{1_000 + index},{index},{name}26NOV{index:05d}CE,{name},0,{expiry},{index},0.05,65,CE,NFO-OPT,NFO"


def a_catalog(options: int, *more: str) -> InstrumentCatalog:
    rows = ["256265,1001,NIFTY 50,NIFTY 50,0,,0,0,0,EQ,INDICES,NSE", *map(an_option, range(options)), *more]
    return parse_dump(a_dump(*rows), endpoint="test")


def option_symbol(index: int, name: str = "NIFTY") -> str:
    return f"NFO:{name}26NOV{index:05d}CE"


def an_account(name: str, **fields: Any) -> AccountView:
    return AccountView(name, uid=f"uid-{name}", created="2026-11-20T00:00:00Z", secret=f"{name}-token", **fields)


def a_subscription(name: str, symbols: Iterable[str], **fields: Any) -> SubscriptionView:
    """Without Greeks unless told so: then no table has references."""
    fields.setdefault("created", f"2026-11-20T00:00:00Z/{name}")
    fields.setdefault("greeks", False)
    return SubscriptionView(
        name, uid=f"uid-{name}", instruments=tuple(RequestedInstrument(symbol) for symbol in symbols), **fields
    )


def alive(accounts: Iterable[AccountView]) -> dict[str, Verdict]:
    return {account.name: Verdict(Health.ALIVE) for account in accounts}


def a_shard(account: str, table: AssignmentTable, **fields: Any) -> ShardView:
    """A shard that streams and has acknowledged `table`."""
    conditions = {
        kind: ConditionView(kind, "True", reason, "as told", 1)
        for kind, reason in (("Connected", "Connected"), ("CredentialsValid", "Accepted"), ("Streaming", "Streaming"))
    }
    report = ShardReport(
        Acknowledgement(table.revision, table.digest, f"{account}/p", frozenset(fields.pop("unconfirmed", ()))),
        confirmed=len(table.instruments),
        sockets="1/1",
        conditions=conditions,
    )
    return ShardView(
        account, exists=True, uid=f"uid-ticker-{account}", generation=1, report=report, signs=Signs(0, 0), **fields
    )


class Pool:
    """A pool whose shards acknowledge every table at once; `settle` runs it until nothing is left to do."""

    def __init__(
        self, accounts: Iterable[AccountView], subscriptions: Iterable[SubscriptionView], options: int
    ) -> None:
        self.accounts = {account.name: account for account in accounts}
        self.subscriptions = {entry.name: entry for entry in subscriptions}
        self.catalog = a_catalog(options)
        self.tables: dict[str, TableView] = {}
        self.shards: dict[str, ShardView] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.strategy = Strategy.ROUND_ROBIN
        self.moves_max = UNBOUNDED
        self.plans: list[Plan] = []

    def snapshot(self) -> PoolSnapshot:
        return PoolSnapshot(
            accounts=tuple(self.accounts.values()),
            subscriptions=tuple(self.subscriptions.values()),
            shards=dict(self.shards),
            tables=dict(self.tables),
            catalog=self.catalog,
            today=TODAY,
            now="2026-11-21T04:00:00Z",
        )

    def health(self) -> dict[str, Verdict]:
        return {name: self.verdicts.get(name, Verdict(Health.ALIVE)) for name in self.accounts}

    def resolved(self) -> Resolution:
        return resolve(
            tuple(self.subscriptions.values()),
            accounts=tuple(self.accounts.values()),
            catalog=self.catalog,
            tables=self.tables,
            prefix="ticker",
            today=TODAY,
        )

    def planned(self) -> Plan:
        return plan(
            self.snapshot(),
            resolution=self.resolved(),
            verdicts=self.health(),
            strategy=self.strategy,
            moves_max=self.moves_max,
        )

    def run_pass(self) -> TablePlan:
        """One pass; every write succeeds and is acknowledged by those that are not dead."""
        snapshot, resolution = self.snapshot(), self.resolved()
        decided = plan(
            snapshot, resolution=resolution, verdicts=self.health(), strategy=self.strategy, moves_max=self.moves_max
        )
        self.plans.append(decided)
        tables = next_tables(snapshot, resolution=resolution, plan=decided, verdicts=self.health())
        for write in tables.writes:
            self.store(write.table)
        return tables

    def store(self, table: AssignmentTable) -> None:
        name = table.account
        self.tables[name] = TableView(version=str(table.revision), table=table)
        if self.health()[name].health.streams:
            self.shards[name] = a_shard(name, table)

    def settle(self, passes_max: int = 12) -> None:
        for _ in range(passes_max):
            if not self.run_pass().writes:
                return
        raise AssertionError("the pool does not come to rest")

    def owners(self) -> dict[str, str]:
        """Symbol → account, of everything that stands in a table."""
        return {
            row.symbol: name
            for name, view in self.tables.items()
            for row in (view.table.instruments if view.table else ())
            if not row.is_reference
        }

    def loads(self) -> dict[str, int]:
        """Instruments that stand in each account's table, references apart."""
        return {
            name: sum(not row.is_reference for row in view.table.instruments) if view.table else 0
            for name, view in self.tables.items()
        }

    def change_account(self, name: str, **fields: Any) -> None:
        self.accounts[name] = replace(self.accounts[name], **fields)


def symbols_by_account(placement: Mapping[tuple[str, str, str], str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for exchange, tradingsymbol, _ in sorted(placement):
        found.setdefault(placement[exchange, tradingsymbol, _], []).append(f"{exchange}:{tradingsymbol}")
    return found
