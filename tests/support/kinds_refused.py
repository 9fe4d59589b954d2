"""Objects that break one rule each, with the sentence that says so.

The same table is judged by pydantic (files on one machine) and by a real API server: a rule that only one of them
knows would let through on one road what the other refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ticker_crds.constants import API_VERSION, Kind


@dataclass(frozen=True)
class Refused:
    """An object, what is wrong with it in words, and what each judge says."""

    title: str
    manifest: dict[str, Any]
    api: str
    python: str = ""  # the same, if empty

    @property
    def said_by_python(self) -> str:
        return self.python or self.api


def an_account(*, name: str = "acc1", **spec: Any) -> dict[str, Any]:
    return _object(Kind.ACCOUNT, name, {"credentialsRef": {"name": "acc1-credentials"}, **spec})


def a_subscription(*symbols: str, name: str = "sub", **spec: Any) -> dict[str, Any]:
    listed = {"instruments": [{"symbol": symbol} for symbol in symbols]} if symbols else {}
    return _object(Kind.SUBSCRIPTION, name, {**listed, **spec})


def a_shard(*, name: str = "ticker-acc1", **spec: Any) -> dict[str, Any]:
    return _object(Kind.SHARD, name, {"accountRef": {"name": "acc1"}, **spec})


def many_symbols(number: int) -> tuple[str, ...]:
    """Symbols of a plausible length."""
    return tuple(f"NFO:NIFTY26NOV{20_000 + index}CE" for index in range(number))


def _object(kind: Kind, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind.value, "metadata": {"name": name}, "spec": spec}


SYMBOL: Final = "write EXCHANGE:TRADINGSYMBOL in capitals as in the broker's instrument list"
CHANNEL: Final = "no braces or spaces; the prefix is put in front of it"
SOCKETS: Final = "the broker allows an API key 1 to 3 sockets: add another KiteAccount to carry more"
PER_SOCKET: Final = "the broker allows a socket 1 to 3000 instruments: raise sockets or add another KiteAccount"
ONE_OF: Final = "set exactly one of instruments (a list of symbols) and selector (a rule over an underlying)"
LONG_NAME: Final = "an account's name has at most 40 characters, because names are derived from it"
CHAIN: Final = {"underlying": "NIFTY", "kinds": ["options"]}

MALFORMED_SYMBOLS: Final = {
    "no exchange": "INFY",
    "empty tradingsymbol": "NSE:",
    "small letters": "nse:infy",
    "space in front": "NSE: INFY",
    "space at the end": "NSE:INFY ",
    "two spaces": "NSE:NIFTY  50",
    "second colon": "NSE:INFY:X",
    "wildcard": "NFO:NIFTY[0-9]",
    "braces": "NSE:{INFY}",
    "comma": "NSE:INFY,NSE:TCS",
    "line break": "NSE:INFY\nNSE:TCS",
    "line break at the end": "NSE:INFY\n",
    "unicode letters": "NSE:ИНФИ",
    "unicode digits": "NSE:NIFTY ५०",
    "look-alike of a capital": "NSE:ІNFY",
    "zero-width space": "NSE:IN\u200bFY",
}
REAL_SYMBOLS: Final = (
    "NSE:INFY",
    "NSE:NIFTY 50",
    "NSE:INDIA VIX",
    "NSE:NIFTY GS 10YR CLN",
    "NSE:M&M",
    "NSE:J&KBANK",
    "NSE:BAJAJ-AUTO",
    "NSE:20MICRONS",
    "NSE:182D150126-TB",
    "BSE:SENSEX",
    "NFO:NIFTY26NOVFUT",
    "NFO:NIFTY26NOV26000CE",
    "NFO:NIFTY26N2425000PE",
    "NFO:NIFTY26O0124500CE",
    "NFO:ASHOKLEY26AUG172.5CE",
    "NFO:M&M26NOV3000CE",
    "NFO:NIFTYNXT5026NOV70000CE",
    "BFO:SENSEX26O0176200CE",
    "CDS:USDINR26NOV85.25CE",
    "MCX:CRUDEOIL26DECFUT",
)
BAD_CHANNELS: Final = {
    "braces": "{nifty}",
    "one brace": "nifty}",
    "space": "nifty options",
    "wildcard": "nifty:*",
    "colon in front": ":nifty",
    "unicode": "निफ्टी",
    "line break": "nifty\noptions",
}

REFUSED: Final = (
    *(Refused(f"symbol: {title}", a_subscription(symbol), SYMBOL) for title, symbol in MALFORMED_SYMBOLS.items()),
    Refused(
        "symbol of 65 characters",
        a_subscription("NSE:" + "A" * 61),
        "Too long: may not be more than 64",
        "at most 64 characters",
    ),
    Refused(
        "duplicate symbols",
        a_subscription("NSE:INFY", "NSE:TCS", "NSE:INFY"),
        'Duplicate value: {"symbol":"NSE:INFY"}',
        "instruments: each symbol once",
    ),
    Refused("neither instruments nor selector", a_subscription(), ONE_OF),
    Refused("instruments and selector", a_subscription("NSE:INFY", selector=CHAIN), ONE_OF),
    Refused(
        "no instruments in the list", a_subscription(instruments=[]), "should have at least 1 item", "at least 1 item"
    ),
    Refused(
        "2,001 instruments",
        a_subscription(*many_symbols(2_001)),
        "spec.instruments: Too many: 2001: must have at most 2000 items",
        "at most 2000 items",
    ),
    Refused(
        "unknown mode",
        a_subscription("NSE:INFY", mode="depth"),
        'spec.mode: Unsupported value: "depth": supported values: "ltp", "quote", "full"',
        "spec.mode: Input should be 'ltp', 'quote' or 'full'",
    ),
    Refused(
        "unknown mode of one instrument",
        a_subscription(instruments=[{"symbol": "NSE:INFY", "mode": "FULL"}]),
        'spec.instruments[0].mode: Unsupported value: "FULL"',
        "spec.instruments[0].mode: Input should be 'ltp', 'quote' or 'full'",
    ),
    Refused(
        "unknown encoding",
        a_subscription("NSE:INFY", encoding="xml"),
        'spec.encoding: Unsupported value: "xml"',
        "spec.encoding: Input should be 'json' or 'msgpack'",
    ),
    *(
        Refused(f"channel: {title}", a_subscription("NSE:INFY", channel=channel), CHANNEL)
        for title, channel in BAD_CHANNELS.items()
    ),
    Refused("priority 1,001", a_subscription("NSE:INFY", priority=1_001), "a priority is between -1000 and 1000"),
    Refused(
        "selector: next and dates",
        a_subscription(selector={**CHAIN, "expiries": {"next": 1, "dates": ["2026-11-26"]}}),
        "set either next (the nearest N expiries) or dates, not both",
    ),
    Refused(
        "selector: around and min",
        a_subscription(selector={**CHAIN, "strikes": {"around": 5, "min": 20_000}}),
        "set either around (N strikes on each side of the money) or min and max, not both",
    ),
    Refused(
        "selector: min above max",
        a_subscription(selector={**CHAIN, "strikes": {"min": 26_000, "max": 25_000.5}}),
        "min must not be above max",
    ),
    Refused(
        "selector: expiry in words",
        a_subscription(selector={**CHAIN, "expiries": {"dates": ["26 Nov 26"]}}),
        "write an expiry as YYYY-MM-DD",
    ),
    Refused(
        "account selector: In without values",
        a_subscription("NSE:INFY", accountSelector={"matchExpressions": [{"key": "desk", "operator": "In"}]}),
        "operators In and NotIn need values; Exists and DoesNotExist take none",
    ),
    Refused(
        "sockets as text",
        an_account(sockets="2"),
        'spec.sockets: Invalid value: "string": spec.sockets in body must be of type integer',
        "spec.sockets: Input should be a valid integer",
    ),
    Refused(
        "sockets as a truth value",
        an_account(sockets=True),
        'spec.sockets: Invalid value: "boolean": spec.sockets in body must be of type integer',
        "spec.sockets: Input should be a valid integer",
    ),
    Refused(
        "greeks as a word",
        a_subscription("NSE:INFY", greeks="yes"),
        'spec.greeks: Invalid value: "string": spec.greeks in body must be of type boolean',
        "spec.greeks: Input should be a valid boolean",
    ),
    Refused(
        "symbol as a number",
        a_subscription(instruments=[{"symbol": 256265}]),
        'spec.instruments[0].symbol: Invalid value: "integer"',
        "spec.instruments[0].symbol: Input should be a valid string",
    ),
    Refused("sockets 0", an_account(sockets=0), SOCKETS),
    Refused("sockets 4", an_account(sockets=4), SOCKETS),
    Refused("3,001 instruments on a socket", an_account(instrumentsPerSocket=3_001), PER_SOCKET),
    Refused("no instruments on a socket", an_account(instrumentsPerSocket=0), PER_SOCKET),
    Refused("account name of 41 characters", an_account(name="a" * 41), LONG_NAME),
    Refused("account name of 253 characters", an_account(name="a" * 253), LONG_NAME),
    Refused(
        "account name with a dot",
        an_account(name="acc.1"),
        "an account's name has lower case letters, digits and '-' only, because names that allow no dots are derived",
    ),
    Refused(
        "account without credentials",
        _object(Kind.ACCOUNT, "acc1", {}),
        "spec.credentialsRef: Required value",
        "spec.credentialsRef: Field required",
    ),
    Refused(
        "unknown state",
        an_account(state="Asleep"),
        'spec.state: Unsupported value: "Asleep": supported values: "Active", "Draining", "Suspended"',
        "spec.state: Input should be 'Active', 'Draining' or 'Suspended'",
    ),
    Refused(
        "ticker endpoint over https",
        an_account(endpoints={"ticker": "https://ws.kite.trade"}),
        "write ws:// or wss://host[:port][/path], without user, query or fragment",
    ),
    Refused(
        "api endpoint over wss",
        an_account(endpoints={"api": "wss://api.kite.trade"}),
        "write http:// or https://host[:port][/path], without user, query or fragment",
    ),
    Refused(
        "endpoint with a token in it",
        an_account(endpoints={"ticker": "wss://ws.kite.trade/?api_key=a&access_token=b"}),
        "without user, query or fragment",
    ),
    Refused(
        "endpoint with a password in it",
        an_account(endpoints={"api": "https://user:password@api.kite.trade"}),
        "without user, query or fragment",
    ),
    Refused(
        "pod label that is the operator's",
        an_account(podTemplate={"labels": {"tickershard.io/shard": "mine"}}),
        "labels below tickershard.io/ belong to the operator: use another prefix",
    ),
    Refused(
        "pod annotation that is the operator's",
        an_account(podTemplate={"annotations": {"tickershard.io/release-hash": "mine"}}),
        "annotations below tickershard.io/ belong to the operator: use another prefix",
    ),
)
