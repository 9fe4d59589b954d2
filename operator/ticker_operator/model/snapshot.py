"""The pool at one moment: everything a pass may look at. Nothing in it changes while it is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from ticker_operator.model.accounts import AccountView
from ticker_operator.model.catalog import InstrumentCatalog
from ticker_operator.model.plan import Placement
from ticker_operator.model.shards import ShardView, TableView
from ticker_operator.model.subscriptions import SubscriptionView


@dataclass(frozen=True, slots=True)
class PoolSnapshot:
    """One namespace: accounts, subscriptions, shards, tables, instruments, time.

    Attributes
    ----------
    namespace
        The pool.
    accounts, subscriptions
        In any order; planning sorts.
    shards
        By account; also those whose account is gone but of which anything is left.
    tables
        By account, as stored.
    catalog
        The broker's instruments; `None` before the first dump.
    dump_fault
        Why the last fetch of that list failed, and from where; empty if none did.
    remembered
        Where this operator process placed things last: consulted only for instruments that stand in no table
        (a lost table).
    today
        The trading day (IST): contracts that expired before it are gone.
    now_ns
        The operator's monotonic clock.
    now
        Wall clock, RFC 3339, for what people read.
    """

    namespace: str = "default"
    accounts: tuple[AccountView, ...] = ()
    subscriptions: tuple[SubscriptionView, ...] = ()
    shards: Mapping[str, ShardView] = field(default_factory=dict)
    tables: Mapping[str, TableView] = field(default_factory=dict)
    catalog: InstrumentCatalog | None = None
    dump_fault: str = ""
    remembered: Placement = field(default_factory=dict, repr=False)
    today: date = date(1970, 1, 1)
    now_ns: int = 0
    now: str = ""

    def shard(self, account: str) -> ShardView:
        """The account's shard; a blank view where nothing is known of it."""
        return self.shards.get(account) or ShardView(account)

    def table(self, account: str) -> TableView:
        """The account's table; a blank view where there is none."""
        return self.tables.get(account) or TableView()
