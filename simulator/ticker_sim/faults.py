"""Faults as data: what goes wrong, for whom, for how long, how often.

A fault is a frozen value, made from JSON by `parse_fault` (which names the field it refuses), held by a
`ticker_sim.fault_book.FaultBook`, and asked for where it would strike. Every fault has `api_key` (else all), `socket`
(one open socket by its number, else all), `for_ms` (else until it is removed), `count` (strikes, else unbounded) and
`probability` (of each strike).

Momentary faults (`MOMENTARY`) strike the matching open sockets when they are posted, and are over; lasting ones
(`LASTING`) are states, which have no strikes to count.
"""

from __future__ import annotations

import dataclasses
import types
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Union, get_args, get_origin, get_type_hints


class FaultRefusedError(ValueError):
    """A fault that makes no sense; the message names the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What all faults have."""

    kind: ClassVar[str] = ""
    api_key: str | None = None
    socket: int | None = None
    for_ms: int | None = None
    count: int | None = None
    probability: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop(Fault):
    """Close the open sockets with a close frame."""

    kind: ClassVar[str] = "drop"
    code: int = 1001


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(Fault):
    """Answer the open sockets with a TCP reset."""

    kind: ClassVar[str] = "reset"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendText(Fault):
    """Send a text message that no client expects."""

    kind: ClassVar[str] = "send_text"
    what: Literal["junk", "non_object", "unknown_type", "given"] = "junk"
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfOpen(Fault):
    """Neither read nor write, keep TCP open; sockets that are opened later work unless `new_sockets`."""

    kind: ClassVar[str] = "half_open"
    new_sockets: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence(Fault):
    """Send nothing, heartbeats included, but go on reading and answering pings."""

    kind: ClassVar[str] = "silence"
    new_sockets: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Mute(Fault):
    """Heartbeats only."""

    kind: ClassVar[str] = "mute"
    new_sockets: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MuteTokens(Fault):
    """Nothing for these instruments."""

    kind: ClassVar[str] = "mute_tokens"
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenDead(Fault):
    """The access token is revoked or expired: upgrades and REST answer 403, open sockets go on."""

    kind: ClassVar[str] = "token_dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseUpgrade(Fault):
    """Answer the upgrade with an HTTP status."""

    kind: ClassVar[str] = "refuse_upgrade"
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KickOldest(Fault):
    """A socket too many is let in, and the key's oldest one is thrown out (one user says so)."""

    kind: ClassVar[str] = "kick_oldest"
    how: Literal["close", "reset"] = "reset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Linger(Fault):
    """A socket that has ended is counted for a while longer, as one that died without a close frame is."""

    kind: ClassVar[str] = "linger"
    linger_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowUpgrade(Fault):
    """Let the upgrade wait."""

    kind: ClassVar[str] = "slow_upgrade"
    delay_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptThenDrop(Fault):
    """Accept, then lose the connection after a while, by a close frame or a reset."""

    kind: ClassVar[str] = "accept_then_drop"
    after_ms: int = 0
    how: Literal["close", "reset"] = "reset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed(Fault):
    """Spoil binary frames (`ticker_sim.spoil`)."""

    kind: ClassVar[str] = "malformed"
    how: Literal[
        "truncated", "count_too_high", "count_too_low", "zero_length", "unknown_length", "trailing_bytes", "two_bytes",
        "oversized",
    ]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowFrames(Fault):
    """Hold each frame back before it is sent; what changes meanwhile is conflated."""

    kind: ClassVar[str] = "slow_frames"
    delay_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Timestamps(Fault):
    """Wrong exchange and trade times: zero, or shifted (negative = stale, positive = in the future)."""

    kind: ClassVar[str] = "timestamps"
    zero: bool = False
    shift_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Distort(Fault):
    """Values that a careful reader rejects or flags."""

    kind: ClassVar[str] = "distort"
    how: Literal["negative_price", "volume_backwards", "crossed_book", "empty_book"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateFrames(Fault):
    """Send each frame twice."""

    kind: ClassVar[str] = "duplicate_frames"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfOrder(Fault):
    """Send each frame after the one that follows it."""

    kind: ClassVar[str] = "out_of_order"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteFirst(Fault):
    """The first packet of a new subscription is a quote even if full was asked for before it left."""

    kind: ClassVar[str] = "quote_first"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialSubscribe(Fault):
    """Silently forget the last tokens of each subscribe message, all but the first `keep`."""

    kind: ClassVar[str] = "partial_subscribe"
    keep: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst(Fault):
    """Multiply the rate of changes (for all keys)."""

    kind: ClassVar[str] = "burst"
    factor: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RestError(Fault):
    """REST answers with a status: in the envelope, or as a gateway's page of HTML."""

    kind: ClassVar[str] = "rest_error"
    status: int
    path: str = "/"
    html: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TruncatedDump(Fault):
    """The instrument dump ends in the middle of a row."""

    kind: ClassVar[str] = "truncated_dump"
    keep_bytes: int


FAULT_KINDS: Final[dict[str, type[Fault]]] = {
    fault.kind: fault
    for fault in (
        *(Drop, Reset, SendText, HalfOpen, Silence, Mute, MuteTokens, TokenDead, RefuseUpgrade, SlowUpgrade),
        *(AcceptThenDrop, Malformed, SlowFrames, Timestamps, Distort, DuplicateFrames, OutOfOrder, QuoteFirst),
        *(PartialSubscribe, Burst, RestError, TruncatedDump, KickOldest, Linger),
    )
}
MOMENTARY: Final = (Drop, Reset, SendText)
LASTING: Final = (HalfOpen, Silence, Mute, MuteTokens, QuoteFirst, Burst)  # a state, not strikes: nothing to count
SOCKETLESS: Final = (TokenDead, RefuseUpgrade, SlowUpgrade, KickOldest, Burst, RestError, TruncatedDump)
# Fields with a range: lowest and highest value.
RANGES: Final[dict[str, tuple[float, float]]] = {
    "for_ms": (1, 86_400_000),
    "count": (1, 1_000_000_000),
    "probability": (0.0, 1.0),
    "code": (1000, 4999),
    "status": (400, 599),
    "delay_ms": (1, 600_000),
    "linger_ms": (1, 600_000),
    "socket": (1, 1 << 31),
    "after_ms": (0, 600_000),
    "keep": (0, 3_000),
    "factor": (2, 1_000),
    "keep_bytes": (0, 1 << 30),
    "shift_s": (-4_000_000_000, 4_000_000_000),
}


def parse_fault(value: Any) -> Fault:
    """A fault from JSON: an object with ``kind`` and the kind's fields.

    Raises
    ------
    FaultRefusedError
        The message names the field, what it was and what it may be.
    """
    if not isinstance(value, dict):
        raise FaultRefusedError(f"a fault is an object with a kind, not {type(value).__name__}")
    fields = dict(value)
    kind = fields.pop("kind", None)
    fault_type = FAULT_KINDS.get(kind) if isinstance(kind, str) else None
    if fault_type is None:
        raise FaultRefusedError(f"kind: {kind!r} is none of {', '.join(sorted(FAULT_KINDS))}")
    hints = get_type_hints(fault_type)
    known = {field.name: field for field in dataclasses.fields(fault_type)}
    for name in fields:
        if name not in known:
            raise FaultRefusedError(f"{name}: {kind} has no such field; it has {', '.join(known)}")
    for name, field in known.items():
        if name not in fields and field.default is dataclasses.MISSING:
            raise FaultRefusedError(f"{name}: {kind} needs it")
    given = {name: _checked(name, fields[name], hints[name]) for name in fields}
    fault = fault_type(**given)
    _check_together(fault)
    return fault


def _check_together(fault: Fault) -> None:
    """Refuse what each field alone allows but what would have no effect."""
    if isinstance(fault, LASTING):
        for name, value in (("count", fault.count), ("probability", None if fault.probability == 1 else 1)):
            if value is not None:
                raise FaultRefusedError(f"{name}: {fault.kind} lasts, it does not strike now and then; use for_ms")
    if isinstance(fault, MOMENTARY) and fault.for_ms is not None:
        raise FaultRefusedError(f"for_ms: {fault.kind} strikes the open sockets once")
    if isinstance(fault, SOCKETLESS) and fault.socket is not None:
        raise FaultRefusedError(f"socket: {fault.kind} strikes before there is a socket, or none")
    if isinstance(fault, Burst) and fault.api_key is not None:
        raise FaultRefusedError("api_key: there is one market, so a burst is for everybody")
    if isinstance(fault, Timestamps) and fault.zero == bool(fault.shift_s):
        raise FaultRefusedError("shift_s: either zero or a shift other than 0 is needed")


def fault_json(fault: Fault) -> dict[str, Any]:
    """The JSON that `parse_fault` would make this fault from; defaults included."""
    return {"kind": fault.kind, **dataclasses.asdict(fault)}


def _checked(name: str, value: Any, hint: Any) -> Any:
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    wanted = next(option for option in options if option is not type(None))
    if get_origin(wanted) is Literal:
        if value not in get_args(wanted):
            raise FaultRefusedError(f"{name}: {value!r} is none of {', '.join(map(str, get_args(wanted)))}")
        return value
    if get_origin(wanted) is tuple:
        if not isinstance(value, list) or not value or not all(type(item) is int for item in value):
            raise FaultRefusedError(f"{name}: a list of at least one integer is needed")
        return tuple(value)
    accepted = (int, float) if wanted is float else (wanted,)
    if type(value) not in accepted:
        raise FaultRefusedError(f"{name}: {value!r} is not a {wanted.__name__}")
    if name in RANGES:
        low, high = RANGES[name]
        if not low <= value <= high:
            raise FaultRefusedError(f"{name}: {value} is not between {low:g} and {high:g}")
    return value
