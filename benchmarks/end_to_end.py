"""End to end, flat out: broker's socket → one process → Redis → a subscriber that drains; same frames, same Redis.

The product is a real shard process with the whole contract (validation, Greeks, fence, last values, numbered batches
with the full depth); the peer is the careful assembly of today's packages (`benchmarks.careful_assembly`), which gives
the same values without the promises. Everything is counted at the subscriber.

What "flat out" means differs. The peer has no choice but to work through every tick, and holds the broker up meanwhile.
The shard takes frames as fast as they come and, where Redis is slower than the feed, keeps the newest value of each
instrument and counts what it replaced. So two figures are given, *processed* (received, checked, priced, accounted) and
*delivered*; **the ratio is of what was delivered**, and conflated ticks are not delivered ones.

A third figure asks for the highest of some fixed rates at which nothing at all is conflated: every tick, as the peer.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from benchmarks.lines import Line, careful_line, setting, shard_line
from benchmarks.measured import Flood
from benchmarks.results import Bound, Result, Rounds, at_least
from ticker_crds import Encoding

INSTRUMENTS: Final = 3_000
EVERY_TICK_PACKETS: Final = 200
FLOOD_S: Final = 1.5
RATES: Final = (25_000, 50_000, 75_000, 100_000, 150_000, 200_000, 300_000, 400_000, 600_000, 800_000)
RATE_S: Final = 1.5
TRIES: Final = 2  # a pause of the machine must not end the ladder
PRICED_MIN: Final = 0.9  # of what was delivered; one in 300 is a future, and some options have no volatility
BOUNDS: Final[dict[tuple[Encoding, int], tuple[Bound, Bound]]] = {
    (Encoding.MSGPACK, 200): (at_least(30), at_least(15)),
    (Encoding.JSON, 200): (at_least(15), at_least(6)),
}


def results(*, quick: bool = False) -> list[Result]:
    """Each frame size in turn; in each round the contenders one after the other, every other round backwards."""
    rounds = 1 if quick else 3
    with ExitStack() as stack:
        shared = stack.enter_context(setting(INSTRUMENTS))
        lines: dict[str, Line] = {
            encoding.value: stack.enter_context(shard_line(shared, encoding.value, encoding=encoding))
            for encoding in Encoding
        }
        lines["careful"] = stack.enter_context(careful_line(shared))
        found = []
        for packets in (50, 200, 1_000):
            floods: dict[str, list[Flood]] = {name: [] for name in lines}
            for number in range(rounds):
                for name in sorted(lines, reverse=bool(number % 2)):
                    floods[name].append(lines[name].flood(seconds=FLOOD_S, packets=packets))
            found += [judged(encoding, packets, floods) for encoding in Encoding]
            if packets == EVERY_TICK_PACKETS:
                peer = Rounds({"careful": [flood.delivered_per_s for flood in floods["careful"]]}).median("careful")
                found += [every_tick(lines[encoding.value], peer_rate=peer) for encoding in Encoding]
        return found


def every_tick(line: Line, *, peer_rate: float) -> Result:
    """The highest rate that leaves nothing to conflate."""
    best = 0
    for rate in RATES:
        if not any(_all_of_it(line, rate) for _ in range(TRIES)):
            break
        best = rate
    return Result(
        name=f"end to end, highest rate with nothing conflated, {line.key}, {EVERY_TICK_PACKETS}-packet frames",
        value=best,
        unit="ticks/s delivered",
        peer=f"careful assembly: {peer_rate:,.0f}",
        ratio=best / peer_rate,
    )


def _all_of_it(line: Line, rate: int) -> bool:
    run = line.pace((rate, RATE_S), packets=EVERY_TICK_PACKETS)
    return run.balanced and not run.missing and not run.conflated and run.books["published"] >= run.sent


def judged(encoding: Encoding, packets: int, floods: dict[str, list[Flood]]) -> Result:
    """One line of the table."""
    ours, theirs = floods[encoding.value], floods["careful"]
    delivered = Rounds({name: [flood.delivered_per_s for flood in runs] for name, runs in floods.items()})
    processed = sorted(flood.processed_per_s for flood in ours)[len(ours) // 2]
    conflated = sum(flood.conflated for flood in ours) / sum(flood.sent for flood in ours)
    priced = [sum(flood.priced for flood in runs) / sum(flood.delivered for flood in runs) for runs in (ours, theirs)]
    goal, gate = BOUNDS.get((encoding, packets), (None, None))
    return Result(
        name=f"end to end flat out, {encoding.value}, {packets}-packet frames "
        f"(processed {processed:,.0f}/s, conflated {conflated:.0%}, priced {priced[0]:.0%})",
        value=delivered.median(encoding.value),
        unit="ticks/s delivered",
        peer=f"careful assembly: {delivered.median('careful'):,.0f} (priced {priced[1]:.0%})",
        ratio=delivered.ratio(encoding.value, "careful"),
        goal=goal,
        gate=gate,
        holds=min(priced) >= PRICED_MIN and all(run.balanced and not run.missing for run in ours),
    )
