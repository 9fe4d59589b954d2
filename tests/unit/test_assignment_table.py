"""The assignment table: what is written is read, what does not belong together is refused, and it always fits."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticker_crds.assignment import (
    PUBLISHING_ROLES,
    TABLE_BYTES_MAX,
    TEXT_BYTES_MAX,
    AssignedInstrument,
    AssignmentError,
    AssignmentTable,
    Channel,
    Encoding,
    Mode,
    Role,
    decode_table,
    encode_table,
)
from ticker_crds.constants import CHANNELS_PER_ACCOUNT_MAX, INSTRUMENTS_PER_SOCKET_MAX, SOCKETS_MAX

CONFIG_MAP_BYTES_MAX = 1_048_576
ROWS_MAX = SOCKETS_MAX * INSTRUMENTS_PER_SOCKET_MAX
assert ROWS_MAX == 9_000
assert TABLE_BYTES_MAX < CONFIG_MAP_BYTES_MAX

NIFTY = Channel("ticker:nifty:options")
EQUITY = Channel("ticker:equity", Encoding.MSGPACK)


def a_row(token: int = 256_265, symbol: str = "NIFTY26NOV26000CE", **members: Any) -> AssignedInstrument:
    row = AssignedInstrument(token, "NFO", symbol, Mode.FULL, (NIFTY.name,))
    return replace(row, **members)


def a_table(*rows: AssignedInstrument, revision: int = 1) -> AssignmentTable:
    return AssignmentTable("acc1", revision, (NIFTY, EQUITY), rows)


def rewritten(table: AssignmentTable, *, header: object = None, text: str | None = None) -> tuple[str, bytes]:
    """The two parts of a table, one of them replaced."""
    head, packed = encode_table(table)
    return (
        head if header is None else json.dumps(header),
        packed if text is None else gzip.compress(text.encode()),
    )


def csv_of(table: AssignmentTable) -> str:
    return gzip.decompress(encode_table(table)[1]).decode()


def header_of(table: AssignmentTable) -> dict[str, object]:
    head: dict[str, object] = json.loads(encode_table(table)[0])
    return head


# ---------------------------------------------------------------------------------------------------------------
# Round trip
# ---------------------------------------------------------------------------------------------------------------

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789:._-", min_size=1, max_size=12)


@st.composite
def tables(draw: st.DrawFn) -> AssignmentTable:
    channels = tuple(
        Channel(name, draw(st.sampled_from(Encoding))) for name in draw(st.lists(NAMES, unique=True, max_size=4))
    )
    names = [channel.name for channel in channels]
    rows = [
        AssignedInstrument(
            token=token,
            exchange=draw(st.sampled_from(["NSE", "NFO", "BFO"])),
            tradingsymbol=draw(WORDS),
            mode=draw(st.sampled_from(Mode)),
            channels=tuple(draw(st.lists(st.sampled_from(names), unique=True)) if names else ()),
            role=draw(st.sampled_from(Role)),
            expiry=draw(st.sampled_from(["", "2026-11-26"])),
            strike=draw(st.sampled_from(["", "0", "26000", "172.5"])),
            instrument_type=draw(st.sampled_from(["EQ", "FUT", "CE", "PE"])),
            underlying=draw(WORDS),
            underlying_token=draw(st.integers(0, 2**32 - 1)),
            lot_size=draw(st.integers(0, 10_000)),
            tick_size=draw(st.sampled_from(["", "0.05", "0.0025"])),
            greeks=draw(st.booleans()),
        )
        for token in draw(st.lists(st.integers(0, 2**32 - 1), unique=True, max_size=8))
    ]
    return AssignmentTable(draw(NAMES), draw(st.integers(0, 2**53)), channels, tuple(rows))


def in_order(table: AssignmentTable) -> AssignmentTable:
    rows = sorted(table.instruments, key=lambda row: (row.exchange, row.tradingsymbol, row.token))
    return replace(table, instruments=tuple(rows))


@given(tables())
def test_what_is_written_is_read(table: AssignmentTable) -> None:
    assert decode_table(*encode_table(table)) == in_order(table)


@given(tables(), st.randoms(use_true_random=False))
def test_order_of_rows_changes_nothing_that_is_written(table: AssignmentTable, chance: random.Random) -> None:
    shuffled = list(table.instruments)
    chance.shuffle(shuffled)
    other = replace(table, instruments=tuple(shuffled))

    assert other.digest == table.digest
    assert encode_table(other) == encode_table(table)


@given(tables())
def test_digest_in_the_header_is_the_tables_own(table: AssignmentTable) -> None:
    header, packed = encode_table(table)

    assert json.loads(header)["digest"] == table.digest == decode_table(header, packed).digest


def test_digest_does_not_depend_on_how_it_was_packed() -> None:
    header, packed = encode_table(a_table(a_row()))
    elsewhere = gzip.compress(gzip.decompress(packed), compresslevel=1, mtime=1_763_700_000)

    assert elsewhere != packed
    assert decode_table(header, elsewhere) == a_table(a_row())


def test_every_member_of_a_row_is_part_of_the_digest() -> None:
    other: dict[str, Any] = {
        "token": 1, "exchange": "BFO", "tradingsymbol": "X", "mode": Mode.LTP, "channels": (EQUITY.name,),
        "role": Role.SETTLING, "expiry": "2026-11-26", "strike": "1", "instrument_type": "PE", "underlying": "x",
        "underlying_token": 1, "lot_size": 1, "tick_size": "1", "greeks": True,
    }  # fmt: skip
    assert other.keys() == AssignedInstrument.__dataclass_fields__.keys()

    digests = {a_table(a_row(**{member: value})).digest for member, value in other.items()}

    assert len(digests | {a_table(a_row()).digest}) == len(other) + 1


def test_same_content_is_judged_without_the_revision() -> None:
    table = a_table(a_row(), revision=7)

    assert table.same_content(a_table(a_row(), revision=8))
    assert not table.same_content(a_table(a_row(role=Role.OUTGOING), revision=7))
    assert table.digest != a_table(a_row(), revision=8).digest


# ---------------------------------------------------------------------------------------------------------------
# Tolerance
# ---------------------------------------------------------------------------------------------------------------


def with_digest(head: dict[str, object], text: str) -> tuple[str, bytes]:
    """Parts as a newer operator would write them: their own digest over what they hold."""
    canonical = json.dumps(
        {key: value for key, value in head.items() if key != "digest"}, sort_keys=True, separators=(",", ":")
    )
    digest = "sha256:" + hashlib.sha256((canonical + "\n" + text).encode()).hexdigest()
    return json.dumps({**head, "digest": digest}), gzip.compress(text.encode())


def test_columns_and_members_of_a_newer_operator_are_overlooked() -> None:
    table = a_table(a_row(), a_row(token=2, symbol="NIFTY26NOV26000PE"), revision=3)
    lines = csv_of(table).splitlines()
    wider = "\n".join([f"{lines[0]},colour", *(f"{line},red" for line in lines[1:])]) + "\n"
    head = {**header_of(table), "layout": 2, "market": {"open": "09:15"}}

    assert decode_table(*with_digest(head, wider)) == in_order(table)


def test_table_that_was_read_is_acknowledged_by_the_digest_it_came_with() -> None:
    """The operator accepts only the digest it wrote, and it may know columns that the shard does not."""
    table = a_table(a_row())
    columns, cells = csv_of(table).splitlines()
    header, packed = with_digest(header_of(table), f"{columns},colour\n{cells},red\n")

    read = decode_table(header, packed)

    assert read.digest == json.loads(header)["digest"] != table.digest
    assert replace(read, revision=2).digest == replace(table, revision=2).digest


def test_order_of_columns_does_not_matter() -> None:
    table = a_table(a_row())
    columns, cells = (line.split(",") for line in csv_of(table).splitlines())
    turned = ",".join(columns[::-1]) + "\n" + ",".join(cells[::-1]) + "\n"

    assert decode_table(*with_digest(header_of(table), turned)) == table


def test_channel_without_an_encoding_is_json() -> None:
    table = AssignmentTable("acc1", 1, (NIFTY,), (a_row(),))
    head = {**header_of(table), "channels": [{"name": NIFTY.name}]}

    assert decode_table(*with_digest(head, csv_of(table))).channels == (NIFTY,)


# ---------------------------------------------------------------------------------------------------------------
# Refusals
# ---------------------------------------------------------------------------------------------------------------


def test_parts_of_two_revisions_do_not_belong_together() -> None:
    older, newer = a_table(a_row(), revision=1), a_table(a_row(), a_row(token=2, symbol="X"), revision=2)

    with pytest.raises(AssignmentError, match="header and rows of revision 2 do not belong together"):
        decode_table(encode_table(newer)[0], encode_table(older)[1])


def test_one_changed_byte_is_noticed() -> None:
    table = a_table(a_row())

    with pytest.raises(AssignmentError, match="do not belong together"):
        decode_table(*rewritten(table, text=csv_of(table).replace("256265", "256266")))
    with pytest.raises(AssignmentError, match="do not belong together"):
        decode_table(*rewritten(table, header={**header_of(table), "revision": 2}))


MALFORMED = {
    "header is no JSON": ("{", None),
    "header is a list": ("[]", None),
    "header without channels": ('{"account": "a", "revision": 1, "digest": "d"}', None),
    "header without a digest": ('{"account": "a", "revision": 1, "channels": []}', None),
    "header with an unknown encoding": ('{"channels": [{"name": "c", "encoding": "xml"}]}', None),
    "header with two channels of one name": (
        '{"account": "a", "revision": 1, "digest": "d", "channels": [{"name": "c"}, {"name": "c"}]}',
        b"",
    ),
    "rows are not packed": (None, b"token,exchange\n"),
    "rows are cut off": (None, "half"),
    "rows are not text": (None, gzip.compress(b"\xff\xfe")),
    "rows lack a column": (None, gzip.compress(b"token,exchange\n1,NSE\n")),
    "a row is too short": (None, "short row"),
    "a row lacks its last cell": (None, "one cell less"),
    "a cell without end": (None, "endless cell"),
    "header is nested without end": ("[" * 200_000, None),
    "a token is no number": (None, "no number"),
    "a token stands twice": (None, "twice"),
    "a channel that is not in the header": (None, "no such channel"),
    "a mode nobody knows": (None, "unknown mode"),
    "a role nobody knows": (None, "unknown role"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_table_is_refused(case: str) -> None:
    table = a_table(a_row())
    head, packed = encode_table(table)
    text = csv_of(table)
    columns, cells = text.splitlines()
    made = {
        "half": packed[: len(packed) // 2],
        "short row": gzip.compress(f"{columns}\n1,NFO\n".encode()),
        "one cell less": gzip.compress(f"{columns}\n{cells.rpartition(',')[0]}\n".encode()),
        "endless cell": gzip.compress(text.replace("NIFTY26", "N" * 200_000).encode()),
        "no number": gzip.compress(text.replace("256265", "many").encode()),
        "twice": gzip.compress(f"{text}{cells}\n".encode()),
        "no such channel": gzip.compress(text.replace(",full,0,", ",full,9,").encode()),
        "unknown mode": gzip.compress(text.replace(",full,", ",depth,").encode()),
        "unknown role": gzip.compress(text.replace(",owner", ",guest").encode()),
    }
    bad_head, bad_rows = MALFORMED[case]
    rows = made[bad_rows] if isinstance(bad_rows, str) else bad_rows

    with pytest.raises(AssignmentError, match="malformed"):
        decode_table(bad_head or head, packed if rows is None else rows)


@given(st.text(max_size=60), st.binary(max_size=60))
def test_no_bytes_whatsoever_do_more_than_be_refused(header: str, packed: bytes) -> None:
    with pytest.raises(AssignmentError):
        decode_table(header, packed)


@given(st.integers(min_value=0), st.integers(0, 255))
def test_no_single_damaged_byte_is_read_as_another_table(place: int, value: int) -> None:
    table = a_table(a_row(), a_row(token=2, symbol="NIFTY26NOV26000PE"))
    header, packed = encode_table(table)
    damaged = bytearray(packed)
    damaged[place % len(damaged)] = value

    try:
        read = decode_table(header, bytes(damaged))
    except AssignmentError:
        return
    assert read == in_order(table)


def test_negative_channel_index_is_refused() -> None:
    """Python would take it as counted from the end."""
    table = a_table(a_row())
    text = csv_of(table).replace(",full,0,", ",full,-1,")

    with pytest.raises(AssignmentError, match="malformed"):
        decode_table(*with_digest(header_of(table), text))


def test_table_of_ours_never_lists_anything_twice() -> None:
    with pytest.raises(AssertionError, match="an instrument token is listed once"):
        a_table(a_row(), a_row(symbol="X"))
    with pytest.raises(AssertionError, match="a channel is listed once"):
        AssignmentTable("acc1", 1, (NIFTY, NIFTY))
    with pytest.raises(AssertionError, match="every channel used is listed"):
        AssignmentTable("acc1", 1, (), (a_row(),))


# ---------------------------------------------------------------------------------------------------------------
# Size
# ---------------------------------------------------------------------------------------------------------------


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**16))
def test_largest_account_fits_into_a_config_map(seed: int) -> None:
    """9,000 option rows, each in several of 64 channels, with random tokens (the part that hardly packs)."""
    chance = random.Random(seed)
    channels = tuple(Channel(f"ticker:underlying{number}:options") for number in range(CHANNELS_PER_ACCOUNT_MAX))
    tokens = chance.sample(range(2**32), ROWS_MAX)
    rows = tuple(
        AssignedInstrument(
            token=token,
            exchange="NFO",
            tradingsymbol=f"BAJAJ-AUTO26NOV{chance.randrange(100_000)}.5CE",
            mode=Mode.FULL,
            channels=tuple(channel.name for channel in chance.sample(channels, 4)),
            role=chance.choice(list(Role)),
            expiry=f"2026-11-{chance.randrange(10, 31)}",
            strike=f"{chance.randrange(100_000)}.5",
            instrument_type="CE",
            underlying="bajaj-auto",
            underlying_token=chance.randrange(2**32),
            lot_size=75,
            tick_size="0.05",
            greeks=True,
        )
        for token in tokens
    )
    table = AssignmentTable("a" * 40, 2**53, channels, rows)

    header, packed = encode_table(table)

    in_base64 = (len(packed) + 2) // 3 * 4
    assert in_base64 + len(header) < CONFIG_MAP_BYTES_MAX // 2, "room for twice as much"
    assert decode_table(header, packed) == in_order(table)


def test_what_unpacks_without_end_is_refused_before_it_fills_the_memory() -> None:
    bomb = gzip.compress(b"0" * (2 * TEXT_BYTES_MAX))
    assert len(bomb) < TABLE_BYTES_MAX

    with pytest.raises(AssignmentError, match="more than 8,388,608 bytes of text"):
        decode_table(encode_table(a_table())[0], bomb)


def test_table_too_long_to_be_read_is_not_written() -> None:
    rows = (a_row(symbol="A" * TEXT_BYTES_MAX),)

    with pytest.raises(AssignmentError, match=r"acc1: table has 8,\d{3},\d{3} bytes of text, 8,388,608 are read"):
        encode_table(a_table(*rows))


def test_table_that_does_not_fit_is_refused_with_both_numbers() -> None:
    chance = random.Random(1)
    long = "".join(chance.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=2_000_000))

    with pytest.raises(AssignmentError, match=r"acc1: table has 1,\d{3},\d{3} bytes gzipped, 900,000 fit"):
        encode_table(a_table(a_row(symbol=long)))


# ---------------------------------------------------------------------------------------------------------------
# Rows
# ---------------------------------------------------------------------------------------------------------------


def test_identity_is_the_contract_and_not_its_token() -> None:
    today, tomorrow = a_row(token=1, expiry="2026-11-26"), a_row(token=2, expiry="2026-11-26", role=Role.INCOMING)

    assert today.identity == tomorrow.identity == ("NFO", "NIFTY26NOV26000CE", "2026-11-26")
    assert today.identity != a_row(token=1, expiry="2027-11-25").identity


def test_role_is_changed_alone() -> None:
    row = a_row(role=Role.INCOMING)

    assert row.in_role(Role.SETTLING) == replace(row, role=Role.SETTLING)
    assert [role for role in Role if role in PUBLISHING_ROLES] == [Role.OWNER, Role.SETTLING]


def test_symbol_is_the_field_of_the_last_value_hash() -> None:
    assert a_row().symbol == "NFO:NIFTY26NOV26000CE"
