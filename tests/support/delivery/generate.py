"""Clean histories from a seed: a small world in which every promise is kept, for testing the checker itself.

Two accounts share one channel. The first loses its feed for some seconds and says so; the second hands over to a
successor, which repeats every newest value. A third account comes in the end and takes its share.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from tests.support.delivery.history import (
    MARKET,
    SECOND_NS,
    Books,
    Fault,
    GapTold,
    Given,
    History,
    Instrument,
    Interval,
    Placement,
    RecordSeen,
    Sent,
    Stored,
    Target,
    Told,
)

CHANNEL = "ticker:prices"
STEP_NS = SECOND_NS // 10
WIRE_NS, REDIS_NS, CLIENT_NS = 2_000_000, 20_000_000, 21_000_000


@dataclass
class _Account:
    shard: str
    socket: int
    process: str
    epoch: int = 1
    seq: int = 0
    n: int = 0
    counts: Counter[str] = field(default_factory=Counter)


class _World:
    def __init__(self, seed: int) -> None:
        chance = self.chance = random.Random(seed)
        self.instruments = tuple(
            Instrument(256 * (place + 1), f"NSE:X{place}", (CHANNEL,)) for place in range(chance.randint(4, 8))
        )
        self.accounts = [_Account("default.acc1", 1, "a/1"), _Account("default.acc2", 2, "b/1")]
        self.owner = {one.token: self.accounts[place % 2] for place, one in enumerate(self.instruments)}
        self.version: Counter[int] = Counter()
        self.seconds = chance.randint(16, 20)
        self.outage = Interval(4 * SECOND_NS, (7 + chance.randint(0, 3)) * SECOND_NS)
        self.hand_over_ns = chance.randint(2, 11) * SECOND_NS + STEP_NS // 2
        self.sent: list[Sent] = []
        self.told: list[Told] = []
        self.given: list[Given] = []
        self.stored: list[Stored] = []
        self.records: list[RecordSeen] = []
        self.books: list[Books] = []

    def digest(self, token: int) -> int:
        return token * 1_000 + self.version[token]

    def run(self) -> None:
        end_ns = self.seconds * SECOND_NS
        for one in self.instruments:
            self.version[one.token] = 1
            self.publish(self.owner[one.token], [one.token], 0)
        for at_ns in range(STEP_NS, end_ns - 4 * SECOND_NS, STEP_NS):
            self.step(at_ns)
        self.tell(end_ns, final=True)

    def step(self, at_ns: int) -> None:
        changed: dict[int, list[int]] = {0: [], 1: []}
        for one in self.instruments:
            # Everything moves as the outage begins: however short, it is one that each instrument feels.
            if at_ns == self.outage.start_ns or self.chance.random() < 0.4:
                self.version[one.token] += 1
                self.sent.append(Sent(at_ns, MARKET, one.token, self.version[one.token], self.digest(one.token)))
                changed[self.accounts.index(self.owner[one.token])].append(one.token)
        first, second = self.accounts
        if self.outage.start_ns <= at_ns < self.outage.end_ns:
            changed[0] = []
        elif at_ns == self.outage.end_ns:
            changed[0] = [token for token, account in self.owner.items() if account is first]
        if at_ns - STEP_NS < self.hand_over_ns <= at_ns:
            self.tell(at_ns)
            second.process, second.epoch, second.seq, second.n = "b/2", 2, 0, 0
            second.counts = Counter()
            self.publish(second, [t for t, a in self.owner.items() if a is second], at_ns, repeated=True)
            self.told_twice = at_ns
        else:
            self.publish(second, changed[1], at_ns)
        self.publish(first, changed[0], at_ns)
        if at_ns % (5 * STEP_NS) == 0:
            self.tell(at_ns + STEP_NS // 2)

    def publish(self, account: _Account, tokens: list[int], at_ns: int, *, repeated: bool = False) -> None:
        account.n += 1
        if not tokens:
            return
        account.seq += 1
        rows = tuple((token, self.digest(token)) for token in tokens)
        for token, digest in rows:
            self.sent.append(Sent(at_ns + WIRE_NS, account.socket, token, self.version[token], digest))
            self.given.append(
                Given(
                    at_ns + CLIENT_NS, CHANNEL, account.shard, token, digest, 1_000 + at_ns // SECOND_NS,
                    at_ns + WIRE_NS,
                )
            )  # fmt: skip
        self.told.append(
            Told(at_ns + REDIS_NS, CHANNEL, account.shard, account.process, account.epoch, account.seq, rows)
        )
        account.counts["received"] += len(rows)
        account.counts["withheld" if repeated else "published"] += len(rows)
        account.counts["repeated"] += len(rows) * repeated
        account.counts["messages"] += 1

    def tell(self, at_ns: int, *, final: bool = False) -> None:
        """What is looked at now and then: books, records, last values."""
        names = ("conflated", "rejected", "dropped", "superseded", "in_flight", "lost_messages", "unanswered")
        for account in self.accounts:
            account.n += 1
            taken = {
                name: account.counts[name] for name in ("received", "published", "withheld", "repeated", "messages")
            }
            self.books.append(
                Books(at_ns, account.shard, account.process, **taken, **dict.fromkeys(names, 0), final=final)
            )
            self.records.append(RecordSeen(at_ns, CHANNEL, account.shard, account.epoch, account.process, account.n))
        newest = {given.token: given.digest for given in self.given if given.at_ns <= at_ns}
        self.stored += [Stored(at_ns, CHANNEL, token, digest) for token, digest in newest.items()]


def clean_history(seed: int) -> History:
    """A run in which every promise is kept."""
    world = _World(seed)
    world.run()
    end_ns = world.seconds * SECOND_NS
    lost = frozenset(one.symbol for one in world.instruments if world.owner[one.token].socket == 1)
    owners = {one.symbol: world.owner[one.token].shard for one in world.instruments}
    third = {**owners, **dict.fromkeys(sorted(owners)[: len(owners) // 3], "default.acc3")}
    two, three = (
        frozenset(("default.acc1", "default.acc2")),
        frozenset(("default.acc1", "default.acc2", "default.acc3")),
    )
    outage = world.outage
    return History(
        instruments=world.instruments,
        start_ns=SECOND_NS,
        end_ns=end_ns,
        sent=tuple(sorted(world.sent, key=lambda one: one.at_ns)),
        sockets={1: "default.acc1", 2: "default.acc2"},
        told=tuple(sorted(world.told, key=lambda one: one.at_ns)),
        given=tuple(sorted(world.given, key=lambda one: one.at_ns)),
        stored=tuple(world.stored),
        gaps=(GapTold(CHANNEL, "default.acc1", lost, len(lost), outage.start_ns, outage.end_ns, "reset"),),
        records=tuple(world.records),
        books=tuple(world.books),
        faults=(
            Fault("reset", Target.FEED, outage.start_ns, outage.end_ns, SECOND_NS, "default.acc1"),
            Fault("sigterm", Target.PROCESS, world.hand_over_ns, world.hand_over_ns, SECOND_NS, "default.acc2"),
        ),
        placements=(Placement(0, owners, two), Placement(end_ns // 2, third, three)),
    )  # fmt: skip
