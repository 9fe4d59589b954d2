"""Moving instruments between accounts, whatever happens between two writes.

The real decision (`next_tables`) runs against simulated shards: tables applied late or skipped, calls that land late
and out of order, a crash of a shard, of the operator between any two writes, a token that dies, a shard that is judged
lost while it publishes. Destinations change at any time, also midway and back.

One of the instruments is what the others are priced on, so that it is a reference, too, wherever they are without it.

Two things are checked. At every moment each instrument that was published by somebody is published by somebody, unless
a declared fault hit its publisher. And once the faults are over, in a market that stands still, every wanted instrument
has exactly one owner, stands in one table, and its last value in Redis is the newest one; and every option is priced
where it stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.pool import TODAY, a_catalog, a_subscription, an_account, option_symbol
from ticker_crds import PUBLISHING_ROLES, AssignmentTable, Role
from ticker_operator.model import (
    Acknowledgement,
    Health,
    Plan,
    PoolSnapshot,
    ShardReport,
    ShardView,
    TablePlan,
    TableView,
    Verdict,
)
from ticker_operator.planning import next_tables, resolve

ACCOUNTS = ("a", "b", "c")
INDEX = "NSE:NIFTY 50"
OPTIONS = tuple(option_symbol(index) for index in range(1, 3))
SYMBOLS = (*OPTIONS, INDEX)
CATALOG = a_catalog(3)
ROUNDS_MAX = 75


@dataclass
class Call:
    """A call on its way to Redis: values to write, or fields to delete."""

    account: str
    epoch: int
    number: int
    revision: int
    values: dict[str, int]
    deletes: frozenset[str] = frozenset()


@dataclass
class Process:
    """One run of a shard's container."""

    account: str
    epoch: int
    table: AssignmentTable | None = None
    newest: dict[str, int] = field(default_factory=dict)
    number: int = 0
    owed: dict[str, int] = field(default_factory=dict)  # symbol → revision since when a value is owed
    barrier: int = 0  # revision since when a barrier is owed
    deletes: set[str] = field(default_factory=set)

    def roles(self) -> dict[str, Role]:
        return {row.symbol: row.role for row in self.table.instruments if not row.is_reference} if self.table else {}

    def subscribed(self) -> list[str]:
        return [row.symbol for row in self.table.instruments] if self.table else []

    def publishes(self, symbol: str) -> bool:
        return self.roles().get(symbol) in PUBLISHING_ROLES and symbol in self.newest

    def call(self, values: dict[str, int], deletes: frozenset[str] = frozenset()) -> Call:
        self.number += 1
        assert self.table is not None
        return Call(self.account, self.epoch, self.number, self.table.revision, values, deletes)


class MovingInstruments(RuleBasedStateMachine):
    """Three accounts, three instruments, one Redis, one operator."""

    def __init__(self) -> None:
        super().__init__()
        self.market = dict.fromkeys(SYMBOLS, 1)
        self.destinations: dict[str, str | None] = {}
        self.tables: dict[str, tuple[str, AssignmentTable]] = {}
        self.versions = 0
        self.processes: dict[str, Process | None] = {}
        self.records: dict[str, tuple[int, int]] = {}  # account → (epoch, number)
        self.acknowledged: dict[str, Acknowledgement] = {}
        self.health = dict.fromkeys(ACCOUNTS, Health.ALIVE)
        self.flight: list[Call] = []
        self.last: dict[str, int] = {}
        self.pending: TablePlan | None = None
        self.served: set[str] = set()  # has had a publisher since it is wanted
        self.excused: set[str] = set()  # a declared fault hit its publisher

    @initialize(places=st.tuples(*(st.sampled_from(ACCOUNTS) for _ in SYMBOLS)), late_round=st.integers(0, 30))
    def start(self, places: tuple[str, ...], late_round: int) -> None:
        self.late_round = late_round
        self.destinations = dict(zip(SYMBOLS, places, strict=True))
        for account in ACCOUNTS:
            self.records[account] = (1, 0)
            self.processes[account] = Process(account, 1)

    # -- the market and the shards ---------------------------------------------------------------------------

    @rule(symbol=st.sampled_from(SYMBOLS))
    def tick(self, symbol: str) -> None:
        self.market[symbol] += 1

    @rule(account=st.sampled_from(ACCOUNTS))
    def feed(self, account: str) -> None:
        """Everything subscribed there arrives; what is new is published."""
        process = self.processes[account]
        if process is None or self.health[account] is Health.DEAD:
            return
        for symbol in process.subscribed():
            if process.newest.get(symbol) != self.market[symbol]:
                process.newest[symbol] = self.market[symbol]
                if process.publishes(symbol):
                    self.flight.append(process.call({symbol: process.newest[symbol]}))
        self._note_served()

    @rule(account=st.sampled_from(ACCOUNTS))
    def apply_table(self, account: str) -> None:
        process, stored = self.processes[account], self.tables.get(account)
        if process is None or stored is None:
            return
        table, before = stored[1], process.roles()
        if process.table is not None and table.revision <= process.table.revision:
            return
        process.table = table
        after = process.roles()
        for symbol, role in after.items():
            if role in PUBLISHING_ROLES and before.get(symbol) is not role:
                process.owed[symbol] = table.revision
            if role is Role.OUTGOING and before.get(symbol) is not role:
                process.barrier = table.revision
        for symbol, role in before.items():
            if symbol not in after and role in PUBLISHING_ROLES:
                process.deletes.add(symbol)
        process.deletes -= set(after)
        process.owed = {
            symbol: since for symbol, since in process.owed.items() if after.get(symbol) in PUBLISHING_ROLES
        }
        process.newest = {symbol: value for symbol, value in process.newest.items() if symbol in process.subscribed()}
        self._note_served()

    @rule(account=st.sampled_from(ACCOUNTS))
    def do_duties(self, account: str) -> None:
        """Publish what is owed; a beat is a barrier; delete what nobody has any more."""
        process = self.processes[account]
        if process is None or process.table is None:
            return
        values = {symbol: process.newest[symbol] for symbol in process.owed if symbol in process.newest}
        self.flight.append(process.call(values, frozenset(process.deletes)))

    @rule(pick=st.integers(0, 50))
    def land(self, pick: int) -> None:
        if self.flight:
            self._land(self.flight.pop(pick % len(self.flight)))

    def _land(self, call: Call) -> None:
        epoch, number = self.records[call.account]
        if epoch != call.epoch or call.number <= number:
            return  # fenced, or stale: a later call of the same process was there first
        self.records[call.account] = (epoch, call.number)
        self.last.update(call.values)
        for symbol in call.deletes:
            self.last.pop(symbol, None)
        process = self.processes[call.account]
        if process is not None and process.epoch == call.epoch:
            for symbol in call.values:
                if process.owed.get(symbol, call.revision + 1) <= call.revision:
                    del process.owed[symbol]
            if process.barrier <= call.revision:
                process.barrier = 0
            process.deletes -= call.deletes

    @rule(account=st.sampled_from(ACCOUNTS), lists_silent=st.booleans())
    def acknowledge(self, account: str, lists_silent: bool) -> None:
        process = self.processes[account]
        if process is None or process.table is None:
            return
        silent = {symbol for symbol in process.roles() if symbol not in process.newest}
        owes = process.barrier or process.deletes or any(symbol in process.newest for symbol in process.owed)
        if owes or (silent and not lists_silent):
            return
        self.acknowledged[account] = Acknowledgement(
            process.table.revision, process.table.digest, f"{account}/{process.epoch}", frozenset(silent)
        )

    @rule(account=st.sampled_from(ACCOUNTS))
    def tell_the_barrier(self, account: str) -> None:
        """Nothing outgoing is published any more, whatever else of the table is still to be done."""
        process, said = self.processes[account], self.acknowledged.get(account)
        if process is None or process.table is None or said is None or process.barrier:
            return
        if Role.OUTGOING in process.roles().values() and process.table.revision > said.acted_on:
            self.acknowledged[account] = replace(
                said, barrier_revision=process.table.revision, barrier_digest=process.table.digest
            )

    # -- the operator ----------------------------------------------------------------------------------------

    @rule()
    def operator_decides(self) -> None:
        self.pending = self._decide()

    @rule(how_many=st.integers(1, 3), from_the_end=st.booleans())
    def operator_writes_some(self, how_many: int, from_the_end: bool) -> None:
        """What was decided a while ago; then it dies."""
        writes = list(self.pending.writes) if self.pending else []
        for write in (writes[::-1] if from_the_end else writes)[:how_many]:
            stored = self.tables.get(write.table.account)
            if (stored[0] if stored else None) == write.expected:
                self.versions += 1
                self.tables[write.table.account] = (str(self.versions), write.table)
        self.pending = None

    def _decide(self) -> TablePlan:
        wanted = [symbol for symbol in SYMBOLS if self.destinations[symbol] is not None]
        accounts = tuple(an_account(name, instruments_per_socket=10) for name in ACCOUNTS)
        tables = {name: TableView(version, table) for name, (version, table) in self.tables.items()}
        resolution = resolve(
            [a_subscription("s", wanted, greeks=True)],
            accounts=accounts,
            catalog=CATALOG,
            tables=tables,
            prefix="ticker",
            today=TODAY,
        )
        placement = {}
        for entry in resolution.wanted:
            destination = self.destinations[entry.row.symbol]
            assert destination is not None
            placement[entry.row.identity] = destination
        snapshot = PoolSnapshot(accounts=accounts, tables=tables, shards=self._shards(), today=TODAY)
        verdicts = {name: Verdict(health) for name, health in self.health.items()}
        return next_tables(snapshot, resolution=resolution, plan=Plan(placement), verdicts=verdicts)

    def _shards(self) -> dict[str, ShardView]:
        return {
            name: ShardView(name, exists=True, report=ShardReport(self.acknowledged.get(name, Acknowledgement())))
            for name in ACCOUNTS
        }

    # -- what people and faults do ---------------------------------------------------------------------------

    @rule(symbol=st.sampled_from(SYMBOLS), destination=st.sampled_from([*ACCOUNTS, *ACCOUNTS, None]))
    def plan_changes(self, symbol: str, destination: str | None) -> None:
        self.destinations[symbol] = destination
        if destination is None:
            self.served.discard(symbol)
            self.excused.discard(symbol)

    @rule(account=st.sampled_from(ACCOUNTS))
    def crash(self, account: str) -> None:
        self._hit(account)
        self.processes[account] = None

    @rule(account=st.sampled_from(ACCOUNTS))
    def restart(self, account: str) -> None:
        """A new process: it claims a new epoch and reads the table as it is now, without a cache."""
        if self.processes[account] is None:
            epoch = self.records[account][0] + 1
            self.records[account] = (epoch, 0)
            self.processes[account] = Process(account, epoch)
            self.apply_table(account)

    @rule(account=st.sampled_from(ACCOUNTS), health=st.sampled_from([Health.DEAD, Health.LOST, Health.ALIVE]))
    def judged(self, account: str, health: Health) -> None:
        """DEAD: the token is refused, and the shard says so. LOST: nobody hears it, but it may well publish on."""
        if health is not Health.ALIVE:
            self._hit(account)
        process = self.processes[account]
        if health is Health.DEAD and process is not None:
            process.newest.clear()
        self.health[account] = health

    def _hit(self, account: str) -> None:
        process = self.processes[account]
        roles = process.roles() if process is not None else {}
        stored = {row.symbol: row.role for row in self.tables[account][1].instruments} if account in self.tables else {}
        self.excused |= {symbol for symbol in SYMBOLS if symbol in roles or symbol in stored}

    # -- what must hold --------------------------------------------------------------------------------------

    def _publishers(self, symbol: str) -> list[str]:
        return [name for name, process in self.processes.items() if process is not None and process.publishes(symbol)]

    def _note_served(self) -> None:
        for symbol in SYMBOLS:
            if self.destinations[symbol] is not None and self._publishers(symbol):
                self.served.add(symbol)

    @invariant()
    def somebody_publishes_what_was_published(self) -> None:
        faulty = [
            name for name in ACCOUNTS if self.health[name] is not Health.ALIVE or self.processes.get(name) is None
        ]
        for symbol in self.served - self.excused:
            if self.destinations[symbol] in faulty:
                continue
            assert self._publishers(symbol), f"{symbol} has no publisher; tables {self.tables}"

    def teardown(self) -> None:
        """All faults end, the market stands still, everybody does what is due: then all is right."""
        if not self.destinations:
            return
        self.pending = None
        for account in ACCOUNTS:
            self.health[account] = Health.ALIVE
            self.restart(account)
        late, self.flight = self.flight, []
        for number in range(ROUNDS_MAX):
            if number == self.late_round:
                for call in late:
                    self._land(call)
            self._one_fair_round(ACCOUNTS[number % len(ACCOUNTS)])
        assert not self._decide().writes, "the tables come to rest"
        for symbol, destination in self.destinations.items():
            rows = {
                name: row.role
                for name, (_, table) in self.tables.items()
                for row in table.instruments
                if row.symbol == symbol and not row.is_reference
            }
            assert rows == ({} if destination is None else {destination: Role.OWNER}), (symbol, rows)
            if destination is not None:
                assert self._publishers(symbol) == [destination]
                assert self.last.get(symbol) == self.market[symbol], f"{symbol}: the last value is not the newest"
        for name, (_, table) in self.tables.items():
            symbols = {row.symbol for row in table.instruments}
            assert INDEX in symbols or not symbols.intersection(OPTIONS), f"{name} cannot price its options"
            assert symbols != {INDEX} or self.destinations[INDEX] == name, f"{name} has a reference for nothing"

    def _one_fair_round(self, account: str) -> None:
        """The operator, then one account: the others are slow, so that what must wait for them has to wait."""
        self.operator_decides()
        self.operator_writes_some(3, from_the_end=False)
        self.apply_table(account)
        self.feed(account)
        self.do_duties(account)
        while self.flight:
            self._land(self.flight.pop(0))
        self.acknowledge(account, lists_silent=False)


TestMovingInstruments = MovingInstruments.TestCase
TestMovingInstruments.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
