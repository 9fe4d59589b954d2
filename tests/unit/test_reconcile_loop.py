"""The loop over a world in memory: failed reading changes nothing, refusals stay with their account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from ticker_crds import AssignmentTable
from ticker_crds.constants import API_VERSION, Kind, Reason
from ticker_crds.names import shard_name
from ticker_operator.desired import RolloutDecision, ShardKnobs
from ticker_operator.model import DesiredShard, Event, Manifest, PodsView, ShardView
from ticker_operator.reconcile.decide import Policy
from ticker_operator.reconcile.gather import Rules
from ticker_operator.reconcile.loop import LoopSettings, PoolLoop, TerminalError
from ticker_operator.reconcile.outcomes import Again, Retry, Terminal
from ticker_operator.reconcile.ports import (
    WORKLOAD,
    Conflict,
    CredentialsFact,
    Listing,
    Ports,
    Refused,
    Removal,
    StoredTable,
    Unchanged,
    Unreachable,
    WorkloadFacts,
    WriteOutcome,
    Written,
)
from ticker_operator.reconcile.reloader import Timing, Trigger
from ticker_operator.reconcile.store import WATCHED

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
GO = Trigger(("test",), 1, urgent=True)
HEAD = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,"
    "segment,exchange\n"
)
SYMBOLS = [f"EQ{number}" for number in range(1, 7)]
DUMP = HEAD + "".join(f"{256 * n + 1},{n},{name},N,0,,0,0.05,1,EQ,NSE,NSE\n" for n, name in enumerate(SYMBOLS, 1))


@dataclass
class World:
    """All ports in memory; what is written is so at once."""

    objects: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {kind: {} for kind in WATCHED})
    tables: dict[str, StoredTable] = field(default_factory=dict)
    unreachable: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    table_answer: dict[str, WriteOutcome] = field(default_factory=dict)
    ensured: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    seconds: float = 1_000.0

    def account(self, name: str) -> None:
        spec = {"credentialsRef": {"name": "kite"}}
        self.objects[Kind.ACCOUNT][name] = _object(Kind.ACCOUNT, name, spec)

    def subscription(self, name: str) -> None:
        spec = {"instruments": [{"symbol": f"NSE:{symbol}"} for symbol in SYMBOLS], "mode": "quote"}
        self.objects[Kind.SUBSCRIPTION][name] = _object(Kind.SUBSCRIPTION, name, spec)

    def _ask(self, what: str) -> None:
        if what in self.broken:
            raise RuntimeError("an adapter's own fault")
        if what in self.absent:
            raise Unreachable(f"{what} is not served", permanent=True)
        if what in self.unreachable:
            raise Unreachable(f"{what} cannot be asked")

    # PoolReader
    async def list_kind(self, kind: str) -> Listing:
        self._ask(kind)
        return Listing(tuple(self.objects[kind].values()))

    async def read_tables(self) -> Mapping[str, StoredTable]:
        self._ask("tables")
        return dict(self.tables)

    async def read_workloads(self) -> Mapping[str, WorkloadFacts]:
        self._ask("workloads")
        return {name: WorkloadFacts(pods=PodsView(alive=1, ready=1)) for name in set(self.ensured) - set(self.removed)}

    async def read_credentials(self, secret: str) -> CredentialsFact:
        self._ask("secrets")
        return CredentialsFact(Reason.ACCEPTED, f"{secret} is fine", "1")

    async def read_heartbeats(self) -> Mapping[str, str]:
        return {}

    # TablePort
    async def write_table(self, table: AssignmentTable, *, expected: str | None) -> WriteOutcome:
        if table.account in self.table_answer:
            return self.table_answer[table.account]
        stored = self.tables.get(table.account)
        assert expected == (stored.version if stored else None), "guarded by what was read"
        self.tables[table.account] = StoredTable(table.account, str(table.revision), table)
        return Written(str(table.revision))

    # InstrumentPort
    async def fetch_dump(self, endpoint: str) -> bytes:
        self._ask(endpoint)
        return DUMP.encode()

    # WorkloadPort
    async def prepare_shard(self, shard: DesiredShard) -> WriteOutcome:
        name = shard_name(shard.account.name)
        self.objects[Kind.SHARD][name] = _object(Kind.SHARD, name, {"accountRef": {"name": shard.account.name}})
        return Written("1")

    async def ensure_shard(self, shard: DesiredShard, *, live: ShardView, rollout: RolloutDecision) -> WriteOutcome:
        self.ensured.append(shard.account.name)
        return Unchanged("1")

    async def remove_shard(self, account: str) -> Removal:
        self.removed.append(account)
        self.tables.pop(account, None)
        self.objects[Kind.SHARD].pop(shard_name(account), None)
        return Removal.GONE

    # StatusPort
    async def write_status(self, kind: Kind, name: str, status: Manifest, *, uid: str) -> WriteOutcome:
        self.objects[kind][name] = {**self.objects[kind][name], "status": dict(status)}
        return Written("1")

    async def record_event(self, event: Event) -> None:
        self.events.append(event)

    async def hold_deletion(self, account: str, *, held: bool) -> WriteOutcome:
        return Unchanged("1")

    def owners(self) -> dict[str, str]:
        return {
            row.symbol: stored.account
            for stored in self.tables.values()
            if stored.table is not None
            for row in stored.table.instruments
        }


def _object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"uid-{name}", "generation": 1, "resourceVersion": "1"}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


@pytest.fixture
def world() -> World:
    made = World()
    made.account("acc1")
    made.account("acc2")
    made.subscription("all")
    return made


@pytest.fixture
async def loop(world: World) -> PoolLoop:
    """A loop that has its list of instruments and has placed everything."""
    assert WORKLOAD in WATCHED
    ports = Ports(reader=world, tables=world, instruments=world, workloads=world, status=world)
    settings = LoopSettings(
        rules=Rules(namespace="pool"),
        policy=Policy(knobs=ShardKnobs(image="shard:1", redis_secret="redis")),
        timing=Timing(resync_s=0.0),
    )
    made = PoolLoop(ports, settings, clock_ns=lambda: int(world.seconds * 1e9), wall=lambda: NOW, chance=lambda: 0.5)
    await made.run_pass(GO)
    await made.instruments.refresh()
    await made.run_pass(GO)
    assert len(world.owners()) == len(SYMBOLS)
    return made


@pytest.mark.parametrize("what", [*WATCHED, "tables", "workloads"])
async def test_failed_reading_changes_nothing_and_is_tried_again(world: World, loop: PoolLoop, what: str) -> None:
    before, ensured = world.owners(), list(world.ensured)
    world.unreachable.add(what)
    world.seconds += 60

    outcome = await loop.run_pass(GO)

    assert isinstance(outcome, Retry)
    assert (world.owners(), world.ensured, world.removed) == (before, ensured, [])


async def test_nothing_is_written_before_everything_was_listed_once(world: World) -> None:
    world.unreachable.add(Kind.SUBSCRIPTION)
    ports = Ports(reader=world, tables=world, instruments=world, workloads=world, status=world)
    settings = LoopSettings(Rules(namespace="pool"), Policy(knobs=ShardKnobs(image="shard:1", redis_secret="redis")))
    fresh = PoolLoop(ports, settings)

    outcome = await fresh.run_pass(GO)

    assert isinstance(outcome, Retry)
    assert (world.tables, world.ensured, world.removed) == ({}, [], [])


async def test_kind_that_is_not_served_ends_the_loop(world: World, loop: PoolLoop) -> None:
    world.absent.add(Kind.SHARD)
    world.seconds += 60

    outcome = await loop.run_pass(GO)

    assert isinstance(outcome, Terminal)
    with pytest.raises(TerminalError, match="not served"):
        loop._follow_up(outcome)


async def test_refused_table_of_one_account_keeps_nobody_else_and_is_told_once(world: World, loop: PoolLoop) -> None:
    world.account("acc3")
    world.objects[Kind.SUBSCRIPTION].clear()
    world.table_answer["acc1"] = Refused("quota")
    world.seconds += 60

    outcomes = []
    for _ in range(3):
        outcomes.append(await loop.run_pass(GO))
        world.seconds += 300

    assert all(isinstance(outcome, Again) for outcome in outcomes)
    assert set(world.owners().values()) == {"acc1"}, "the other account's table was emptied"
    assert [event.name for event in world.events if event.message == "quota"] == ["acc1"]


async def test_conflict_makes_the_next_pass_read_the_tables_again(world: World, loop: PoolLoop) -> None:
    world.objects[Kind.SUBSCRIPTION].clear()
    world.table_answer["acc1"] = Conflict("somebody wrote")
    world.seconds += 60

    first = await loop.run_pass(GO)
    del world.table_answer["acc1"]
    world.seconds += 60
    await loop.run_pass(GO)

    assert isinstance(first, Again)
    assert world.owners() == {}


async def test_children_without_an_account_are_swept(world: World, loop: PoolLoop) -> None:
    del world.objects[Kind.ACCOUNT]["acc1"]
    world.seconds += 60

    await loop.run_pass(GO)

    assert world.removed == ["acc1"]


async def test_broken_pass_is_told_and_is_not_the_end(
    world: World, loop: PoolLoop, caplog: pytest.LogCaptureFixture
) -> None:
    world.broken.add("workloads")
    world.seconds += 60

    outcome = await loop.run_pass(GO)
    world.broken.clear()
    world.seconds += 60
    after = await loop.run_pass(GO)

    assert isinstance(outcome, Retry)
    assert "an adapter's own fault" in outcome.cause
    assert any(record.exc_info for record in caplog.records)
    assert not isinstance(after, Retry)
