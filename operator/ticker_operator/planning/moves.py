"""The next table writes on the way from the tables as they are to the placement; make before break.

An instrument that changes accounts is published by somebody at every moment, and its last value is right in the end.
What that takes for one instrument is the table in `steps`; here it is walked for all of them at once and gathered
into one new table per account.

What holds for a write
----------------------
* It is decided from the stored tables and the acknowledgements alone, carries the version it was decided from, and
  stands on its own: any of the writes may fail or come late.
* Its revision is above everything that account's shard has ever acted upon.
* It never has more rows than the account carries. What leaves takes a place until it is gone, so what comes may have
  to wait: first come instruments that nobody streams, then the higher priority.
* Equal content is not written.
* An account whose pod gives its sockets to another one, one after the other, gets no table meanwhile: where an
  instrument's socket is follows from the table, and both pods have to agree about it (docs/handover.md).
* Within one table a token and a symbol stand once. The broker recycles tokens, so yesterday's contract, still leaving,
  may have today's token: then it goes at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ticker_crds import PUBLISHING_ROLES, AssignedInstrument, AssignmentTable, Channel, Encoding, Role
from ticker_operator.model import (
    AccountView,
    Acknowledgement,
    Drain,
    Health,
    Identity,
    Plan,
    PoolSnapshot,
    Resolution,
    Step,
    TablePlan,
    TableView,
    TableWrite,
    Unassigned,
    UnassignedReason,
    Verdict,
    Wanted,
)
from ticker_operator.planning.capacity import table_fits
from ticker_operator.planning.references import references_of
from ticker_operator.planning.roles import Holder, read_roles
from ticker_operator.planning.steps import AccountFacts, PoolFacts, next_steps

_SPEECHLESS: Final = frozenset({Health.DEAD, Health.UNUSABLE, Health.STOPPED})  # no feed: nothing new comes from them
LATE_CALL_NS: Final = 10_000_000_000  # a call to Redis times out after 2 s; after this nothing is on its way any more
_COMING: Final[dict[Step, int]] = {Step.ADD: 0, Step.TAKE_OVER: 0, Step.ANNOUNCE: 1}  # unserved ones first


@dataclass(slots=True)
class _Arrival:
    """A row that is not in the table yet."""

    order: tuple[int, int, int]
    row: AssignedInstrument
    step: Step
    served: bool


@dataclass(slots=True)
class _Edit:
    """What changes in one account's table."""

    rows: dict[Identity, AssignedInstrument | None] = field(default_factory=dict)  # present ones: new row or none
    arrivals: list[_Arrival] = field(default_factory=list)
    steps: Counter[Step] = field(default_factory=Counter)


def next_tables(
    snapshot: PoolSnapshot, *, resolution: Resolution, plan: Plan, verdicts: Mapping[str, Verdict]
) -> TablePlan:
    """Every write that is due now.

    Parameters
    ----------
    snapshot
        The pool; `plan` and `verdicts` were made from it.
    resolution
        What is wanted.
    plan
        Where it belongs.
    verdicts
        Who can publish.
    """
    roles = read_roles(snapshot.tables)
    facts = account_facts(snapshot, verdicts)
    edits = {account.name: _Edit() for account in snapshot.accounts if _is_written(account, snapshot)}
    moving = 0
    for position, wanted in enumerate(resolution.wanted):
        row = wanted.row
        identity = row.identity
        holders = roles.of(identity)
        destination = plan.placement.get(identity)
        if len(holders) == 1 and holders[0].account == destination and holders[0].row.role is Role.OWNER:
            if holders[0].row != row and destination in edits:
                edits[destination].rows[identity] = row
                edits[destination].steps[Step.UPDATE] += 1
            continue
        moving += len(holders) > 1 or any(holder.role is not Role.OWNER for holder in holders)
        _edit_one(wanted, position, destination, holders, facts, edits)
    standing = {wanted.row.identity for wanted in resolution.wanted}
    for identity, holders in roles.holders.items():
        if identity not in standing:
            moving += 1
            for change in next_steps(holders[0].row.symbol, None, holders, facts):
                if change.account in edits:
                    here = next(holder.row for holder in holders if holder.account == change.account)
                    edits[change.account].rows[identity] = here.in_role(change.role) if change.role else None
                    edits[change.account].steps[change.step] += 1
    writes, waiting = [], []
    for account in sorted(snapshot.accounts, key=lambda account: account.name):
        if account.name in edits:
            write, late = _write(
                account,
                edits[account.name],
                snapshot,
                resolution,
                contradicts=facts[account.name].contradicts,
            )
            waiting += late
            if write is not None:
                writes.append(write)
    return TablePlan(tuple(writes), tuple(waiting), moving)


def _is_written(account: AccountView, snapshot: PoolSnapshot) -> bool:
    return not account.paused and not snapshot.shard(account.name).changes_hands_by_socket(now=snapshot.now)


def account_facts(snapshot: PoolSnapshot, verdicts: Mapping[str, Verdict]) -> PoolFacts:
    """What each account has shown, those included of which only a table or a shard is left."""
    known = {account.name: account for account in snapshot.accounts}
    facts = {}
    for name in sorted({*known, *snapshot.shards, *snapshot.tables}):
        account, shard, table = known.get(name), snapshot.shard(name), snapshot.table(name).table
        said = shard.report.acknowledged if shard.report is not None else Acknowledgement()
        stored = None if table is None else (table.revision, table.digest)
        did = (said.revision, said.digest) == stored
        verdict = verdicts.get(name, Verdict(Health.LOST))
        speechless = verdict.health in _SPEECHLESS and snapshot.now_ns - verdict.since_ns >= LATE_CALL_NS
        gone = shard.gone and (account is None or account.leaving)
        # Of a shard that never gave any sign of life no process has got as far as publishing.
        spoke = shard.report is not None or shard.signs.renewed_ns is not None
        acted = spoke and (table is not None or shard.revision_floor > 0)
        facts[name] = AccountFacts(
            acknowledged=did or gone,
            past_barriers=(said.barrier_revision, said.barrier_digest) == stored,
            unconfirmed=said.unconfirmed,
            gone=gone,
            serves=verdict.health.streams and not gone,
            unseen=acted and not did and not shard.gone and not speechless,
            contradicts=table is not None and said.revision == table.revision and not did,
        )
    return PoolFacts.of(facts)


def _edit_one(
    wanted: Wanted,
    position: int,
    destination: str | None,
    holders: tuple[Holder, ...],
    facts: PoolFacts,
    edits: dict[str, _Edit],
) -> None:
    row = wanted.row
    identity = row.identity
    present = {holder.account: holder.row for holder in holders}
    changes = {change.account: change for change in next_steps(row.symbol, destination, holders, facts)}
    for name, here in present.items():
        if name not in edits:
            continue
        change = changes.get(name)
        role = change.role if change is not None else here.role
        # What is leaving keeps the channels it published to: its barrier must pass through those.
        changed = here.in_role(role) if role is Role.OUTGOING else row.in_role(role) if role else None
        if changed != here:
            edits[name].rows[identity] = changed
            edits[name].steps[change.step if change is not None else Step.UPDATE] += 1
    for name, change in changes.items():
        if name not in present and name in edits and change.role is not None:
            served = any(holder.role in PUBLISHING_ROLES and facts[holder.account].serves for holder in holders)
            order = (_COMING[change.step], -wanted.priority, position)
            edits[name].arrivals.append(_Arrival(order, row.in_role(change.role), change.step, served))


def _write(
    account: AccountView, edit: _Edit, snapshot: PoolSnapshot, resolution: Resolution, *, contradicts: bool
) -> tuple[TableWrite | None, list[Unassigned]]:
    """The account's new table if it differs, and what had to wait for room."""
    view, shard = snapshot.table(account.name), snapshot.shard(account.name)
    old = view.table
    floor = shard.revision_floor
    # An older table than the shard has acted upon, or the same revision with another content (somebody restored or
    # edited it), would be refused there for ever: the next revision is above both.
    usable = old is not None and old.revision >= floor and not contradicts
    stored = old.instruments if old is not None else ()
    rows = {row.identity: row for row in stored if not row.is_reference}
    before = [row for row in stored if row.is_reference]

    def referred(table_rows: list[AssignedInstrument]) -> list[AssignedInstrument]:
        room = max(0, account.capacity - len(table_rows))
        return references_of(table_rows, known=resolution.references, before=before, room=room)

    if usable and not edit.rows and not edit.arrivals and {*referred([*rows.values()])} == {*before}:
        return None, []
    for identity, row in edit.rows.items():
        if row is None:
            rows.pop(identity, None)
        else:
            rows[identity] = row
    arrivals = sorted(edit.arrivals, key=lambda arrival: arrival.order)
    rows, dropped = _without_collisions(rows, arrivals)
    room = max(0, account.capacity - len(rows))
    coming, late = arrivals[:room], arrivals[room:]
    every = [*rows.values(), *(arrival.row for arrival in coming)]
    references = referred(every)
    revision = max(floor, old.revision if old is not None else 0) + 1
    table = _table(account.name, [*every, *references], view, revision, resolution.encodings)
    while (references or coming) and not table_fits(table):
        if references:  # what is wanted comes first here too
            references = []
        else:
            keep = len(coming) // 2
            coming, late = coming[:keep], coming[keep:] + late
        every = [*rows.values(), *(arrival.row for arrival in coming)]
        table = _table(account.name, [*every, *references], view, revision, resolution.encodings)
    waiting = [_waiting(account, arrival) for arrival in late if not arrival.served]
    if old is not None and usable and replace(table, revision=old.revision) == old:
        return None, waiting
    steps = edit.steps + Counter(arrival.step for arrival in coming) + Counter({Step.REMOVE: dropped})
    steps += Counter({Step.REFERENCE: len({*references} ^ {*before})})
    return TableWrite(table, view.version, dict(steps)), waiting


def _without_collisions(
    rows: dict[Identity, AssignedInstrument], arrivals: list[_Arrival]
) -> tuple[dict[Identity, AssignedInstrument], int]:
    """Rows whose token or symbol another row needs give way if they are leaving."""
    used = Counter(row.token for row in rows.values()) + Counter(arrival.row.token for arrival in arrivals)
    names = Counter(row.symbol for row in rows.values()) + Counter(arrival.row.symbol for arrival in arrivals)
    if len(used) == len(names) == len(rows) + len(arrivals):
        return rows, 0
    kept = {
        identity: row
        for identity, row in rows.items()
        if row.role is not Role.OUTGOING or (used[row.token] == 1 and names[row.symbol] == 1)
    }
    return kept, len(rows) - len(kept)


def _table(
    account: str,
    rows: list[AssignedInstrument],
    view: TableView,
    revision: int,
    encodings: Mapping[str, Encoding],
) -> AssignmentTable:
    every = sorted(rows, key=lambda row: (row.exchange, row.tradingsymbol, row.token))
    before = {channel.name: channel.encoding for channel in view.table.channels} if view.table is not None else {}
    names = sorted({name for row in every for name in row.channels})
    channels = tuple(Channel(name, encodings.get(name) or before.get(name, Encoding.JSON)) for name in names)
    return AssignmentTable(account, revision, channels, tuple(every))


def _waiting(account: AccountView, arrival: _Arrival) -> Unassigned:
    message = (
        f"placed at {account.name}, whose {account.capacity:,} places are still taken by instruments that are leaving"
    )
    return Unassigned(arrival.row.symbol, UnassignedReason.WAITING_FOR_ROOM, message, account=account.name)


def drain_state(account: AccountView, snapshot: PoolSnapshot, *, plan: Plan, verdict: Verdict | None = None) -> Drain:
    """Whether a leaving account may be stopped (suspended) or let go (deleted, finalizer released).

    Parameters
    ----------
    account
        Any account.
    snapshot, plan
        The pool, and where everything belongs.
    verdict
        Its health, if judged: an account that cannot stream has nothing left to give away in peace.
    """
    if not account.leaving:
        return Drain.NOT_DRAINING
    table = snapshot.table(account.name).table
    rows = table.instruments if table is not None else ()
    publishing = [row for row in rows if row.role is not Role.OUTGOING and not row.is_reference]
    serves = verdict is None or verdict.health.streams
    if not publishing or not serves or snapshot.shard(account.name).gone:
        return Drain.DRAINED
    if account.drain_deadline_ns is not None and snapshot.now_ns >= account.drain_deadline_ns:
        return Drain.DEADLINE
    if not account.deleting and all(plan.placement.get(row.identity) == account.name for row in publishing):
        return Drain.STUCK
    return Drain.DRAINING
