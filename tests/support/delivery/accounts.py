"""Properties 4 and 7: books that balance, among themselves and with both neighbours, and no needless moves. Pure.

What a process received is at most what was sent to its account, and exactly that where no fault struck the account.
What it says it published is what the subscriber was told, where neither Redis nor the subscriber was ever away. Its
sequence numbers are all either accepted or given up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from tests.support.delivery.history import MARKET, Books, Bounds, History, Placement, Property, Target, Violation


def check_books(history: History) -> Iterator[Violation]:
    """(4) Counts balance exactly."""
    before: dict[str, Books] = {}
    for books in history.books:
        if books.difference:
            yield _unbalanced(books, f"{books.difference} rows are nowhere (or twice): {books}")
        known = before.get(books.process)
        if known is not None and (books.received < known.received or books.published < known.published):
            yield _unbalanced(books, "counters went back")
        before[books.process] = books
    yield from _against_the_sender(history, before)
    yield from _against_the_subscriber(history, before)


def _against_the_sender(history: History, last: Mapping[str, Books]) -> Iterator[Violation]:
    channels = {one.token: len(one.channels) for one in history.instruments}
    sent: Counter[str] = Counter()
    for entry in history.sent:
        if entry.socket != MARKET and entry.socket in history.sockets:
            sent[history.sockets[entry.socket]] += channels.get(entry.token, 1)  # others than the run's have one
    received: Counter[str] = Counter()
    complete: dict[str, bool] = defaultdict(lambda: True)
    for books in last.values():
        received[books.shard] += books.received
        complete[books.shard] &= books.final
    for shard, rows in received.items():
        untouched = not any(
            fault.shard in (None, shard) and fault.target in (Target.FEED, Target.PROCESS) for fault in history.faults
        )
        if rows > sent[shard] or (untouched and complete[shard] and rows != sent[shard]):
            yield Violation(
                Property.CONSERVATION, history.end_ns, f"{shard}: {sent[shard]} rows were sent, {rows} were received"
            )


def _against_the_subscriber(history: History, last: Mapping[str, Books]) -> Iterator[Violation]:
    rows: Counter[str] = Counter()
    messages: dict[str, set[tuple[str, str, int, int]]] = defaultdict(set)
    for told in history.told:
        rows[told.process] += len(told.rows)
        messages[told.process].add((told.channel, told.shard, told.epoch, told.seq))
    always_there = not history.blind and not any(fault.target is Target.REDIS for fault in history.faults)
    for process, books in last.items():
        if not books.final:
            continue
        heard, accepted = len(messages[process]), books.messages
        if heard > accepted + books.lost_messages:
            yield _unbalanced(books, f"{heard} messages came, {accepted} accepted and {books.lost_messages} given up")
        if not always_there or books.unanswered:
            continue
        if heard != accepted:
            yield _unbalanced(books, f"{heard} messages came, {accepted} were accepted")
        if rows[process] != books.published + books.repeated:
            yield _unbalanced(
                books, f"{rows[process]} rows came, {books.published} published and {books.repeated} repeated"
            )


def _unbalanced(books: Books, text: str) -> Violation:
    return Violation(Property.CONSERVATION, books.at_ns, f"{books.shard} {books.process}: {text}")


def check_moves(history: History, bounds: Bounds) -> Iterator[Violation]:
    """(7) Between two placements no more instruments change their owner than must."""
    for number, after in enumerate(history.placements[1:], 1):
        before = history.placements[number - 1]
        since_ns = after.at_ns - bounds.decided_ns
        seen = [before, *(one for one in history.placements[:number] if one.at_ns >= since_ns)]
        moved = moved_between(before, after)
        allowed = least_moves(before, after, steady=frozenset.intersection(*(one.accounts for one in seen)))
        if len(moved) > allowed + bounds.moves_slack:
            yield Violation(
                Property.MOVEMENT, after.at_ns,
                f"{len(moved)} instruments moved, {allowed} (and {bounds.moves_slack}) would have done",
            )  # fmt: skip


def moved_between(before: Placement, after: Placement) -> set[str]:
    """What has another owner than before; what is new or gone did not move."""
    return {symbol for symbol, owner in after.owners.items() if before.owners.get(symbol, owner) != owner}


def least_moves(before: Placement, after: Placement, *, steady: frozenset[str]) -> int:
    """What must move: everything of accounts that are not there, and what those that are lack to a fair share.

    `steady` were there all the time while it may have been decided; an account that came back is given its share, one
    that went and came back may have lost everything.
    """
    owners = {symbol: before.owners.get(symbol, owner) for symbol, owner in after.owners.items()}
    there = before.accounts | before.returned | after.accounts | after.returned
    orphans = sum(owner not in steady & after.accounts for owner in owners.values())
    loads = Counter(owners.values())
    share = len(owners) // len(there) if there else 0
    return max(orphans, sum(max(0, share - loads[account]) for account in there))
