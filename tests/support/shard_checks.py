"""Judges of what a shard published, pure: last values against the simulator's record, streams against themselves.

The simulator records what it sent as the integers of the wire; Redis holds decimal prices and UTC times. `differences`
compares the two field by field without any code of the shard. `judge_stream` reads a channel's messages in order of
arrival and says what a consumer would complain about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

DIVISORS: Final = {3: 10_000_000, 6: 10_000, 12: 10_000}
PRICES: Final = ("last_price", "average_traded_price")
NUMBERS: Final = (
    "instrument_token", "last_traded_quantity", "volume_traded", "total_buy_quantity", "total_sell_quantity", "oi",
    "oi_day_high", "oi_day_low",
)  # fmt: skip
TIMES: Final = ("last_trade_time", "exchange_timestamp")


def differences(sent: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    """Each field in which a published row is not what was sent; empty when they agree."""
    divisor = DIVISORS.get(sent["instrument_token"] & 0xFF, 100)
    expected: dict[str, Any] = {name: sent[name] for name in NUMBERS if name in sent}
    expected |= {name: _price(sent[name], divisor) for name in PRICES if name in sent}
    expected |= {name: _time(sent[name]) for name in TIMES if sent.get(name)}
    if "open" in sent:
        expected["ohlc"] = {name: _price(sent[name], divisor) for name in ("open", "high", "low", "close")}
    if "buy" in sent:
        expected["depth"] = {
            side: [{**level, "price": _price(level["price"], divisor)} for level in sent[side]]
            for side in ("buy", "sell")
        }
    return [
        f"{name}: sent {value}, published {row.get(name)}" for name, value in expected.items() if row.get(name) != value
    ]


def _price(scaled: int, divisor: int) -> float:
    return float(Decimal(scaled) / divisor)


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a stream, worst first; nothing when it is valid."""

    complaints: tuple[str, ...] = ()
    messages: int = 0
    rows: int = 0
    processes: tuple[str, ...] = field(default=())

    @property
    def valid(self) -> bool:
        return not self.complaints


def judge_stream(
    messages: Iterable[tuple[float, Mapping[str, Any]]],
    *,
    silence_s: float,
    ran_s: Callable[[float, float], float] = lambda start_s, end_s: end_s - start_s,
) -> Verdict:
    """Whether one channel was published without a hole, and by one process after another.

    Parameters
    ----------
    messages
        (time of arrival in seconds, message), in order.
    silence_s
        The longest time without a message that is no gap.
    ran_s
        For how much of an interval the processes could run at all.
    """
    complaints: list[str] = []
    owners: list[tuple[int, str]] = []
    seqs: dict[tuple[int, str], int] = {}
    rows = number = 0
    before_s: float | None = None
    for number, (at_s, message) in enumerate(messages, start=1):
        owner = (message["epoch"], message["process"])
        if before_s is not None and at_s - before_s > silence_s and ran_s(before_s, at_s) > silence_s:
            complaints.append(f"nothing for {at_s - before_s:.2f} s before message {number}")
        before_s = at_s
        if not owners or owners[-1] != owner:
            if owner in owners:
                complaints.append(f"message {number}: {owner} published again after its successor")
            if owners and owner[0] <= owners[-1][0]:
                complaints.append(f"message {number}: epoch {owner[0]} follows epoch {owners[-1][0]}")
            owners.append(owner)
        expected = seqs.get(owner, message["seq"] - 1) + 1
        if message["seq"] != expected:
            complaints.append(f"message {number}: seq {message['seq']}, expected {expected}")
        seqs[owner] = message["seq"]
        rows += len(message["ticks"])
    return Verdict(tuple(complaints), number, rows, tuple(process for _, process in owners))


def books(ledger: Mapping[str, Any]) -> int:
    """Received minus all other terms, computed anew from the exported numbers."""
    terms: Sequence[str] = ("published", "conflated", "rejected", "dropped", "withheld", "superseded", "in_flight")
    return int(ledger["received"]) - sum(int(ledger[term]) for term in terms)
