"""Only a newer table of this account that fits is applied; everything else leaves the table in force alone."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode
from ticker_shard.assignment import TableGate, Verdict

CHANNEL = Channel("ticker:equity")


def a_table(revision: int, *, account: str = "acc1", instruments: int = 2) -> AssignmentTable:
    rows = tuple(
        AssignedInstrument(256 * (n + 1) + 1, "NSE", f"S{n}", Mode.FULL, (CHANNEL.name,)) for n in range(instruments)
    )
    return AssignmentTable(account, revision, (CHANNEL,), rows)


GATE = TableGate(account="acc1", capacity=3, prefix="ticker")


def after(table: AssignmentTable, gate: TableGate = GATE) -> TableGate:
    return replace(gate, applied_revision=table.revision, applied_digest=table.digest)


def test_a_higher_revision_is_applied() -> None:
    assert after(a_table(4)).judge(a_table(5)).verdict is Verdict.APPLY


def test_the_applied_table_again_is_nothing_new() -> None:
    assert after(a_table(4)).judge(a_table(4)).verdict is Verdict.SAME


def test_the_applied_revision_with_other_content_is_refused() -> None:
    judged = after(a_table(4)).judge(a_table(4, instruments=1))

    assert judged.verdict is Verdict.CONTRADICTS
    assert "higher revision" in judged.message


def test_a_lower_revision_is_late_and_ignored() -> None:
    judged = after(a_table(4)).judge(a_table(3))

    assert judged.verdict is Verdict.OLDER
    assert "revision 3 is older than revision 4" in judged.message


def test_a_new_process_refuses_what_is_older_than_the_acknowledged_revision() -> None:
    newborn = replace(GATE, floor=9)

    assert newborn.judge(a_table(8)).verdict is Verdict.OLDER
    assert newborn.judge(a_table(9)).verdict is Verdict.APPLY


def test_another_accounts_table_is_refused() -> None:
    assert GATE.judge(a_table(1, account="acc2")).verdict is Verdict.FOREIGN


def test_a_table_with_channels_outside_our_prefix_is_refused() -> None:
    judged = replace(GATE, prefix="pool1").judge(a_table(1))

    assert judged.verdict is Verdict.FOREIGN
    assert "'ticker:equity' for one, do not begin with 'pool1:'" in judged.message


def test_more_instruments_than_the_sockets_carry_are_refused_with_both_numbers() -> None:
    judged = GATE.judge(a_table(1, instruments=4))

    assert judged.verdict is Verdict.TOO_LARGE
    assert "4 instruments, 3 fit" in judged.message


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(0, 20))
def test_applied_revisions_only_grow_and_never_start_below_the_floor(revisions: list[int], floor: int) -> None:
    gate = replace(GATE, floor=floor)
    applied = []
    for revision in revisions:
        if gate.judge(a_table(revision)).verdict is Verdict.APPLY:
            gate = after(a_table(revision), gate)
            applied.append(revision)

    assert applied == sorted(set(applied))
    assert all(revision >= floor for revision in applied)
