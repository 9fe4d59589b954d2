"""What an answer to a call means for what the call carried: in the books, and in the channel's outbox. Pure."""

from __future__ import annotations

from ticker_shard.publish.fence import Accepted, Answer, Fenced, Refused, Unanswered
from ticker_shard.publish.ledger import DropCause, Ledger
from ticker_shard.publish.outbox import Outbox, Parcel


def settle_parcel(
    parcel: Parcel, answer: Answer, *, outbox: Outbox, known_before: int | None, over: bool, ledger: Ledger
) -> None:
    """Give every row and record of `parcel` its place.

    Parameters
    ----------
    parcel, answer
        What was sent, and what came back.
    outbox
        The channel's.
    known_before
        The last number that this process knew to be accepted, before this answer; `None` while it held nothing.
    over
        The term under which it was sent has ended: an earlier call of its pipeline was fenced, so this one was not
        accepted, answered or not.
    ledger
        Where rows and messages are counted.
    """
    match answer:
        case Accepted(previous_n, run_n):
            rewound = known_before is None or previous_n < known_before
            outbox.settle_unanswered(known_n=None if rewound else previous_n, run_n=run_n, ledger=ledger)
            _count_accepted(parcel, outbox=outbox, ledger=ledger)
        case _ if over or isinstance(answer, Fenced):
            ledger.superseded += parcel.fresh
            ledger.lost_messages += parcel.numbered
            ledger.lost_gaps += len(parcel.gaps)
        case Unanswered():
            outbox.keep_unanswered(parcel, ledger=ledger)
            outbox.keep_for_later(parcel)
        case _:
            ledger.drop(DropCause.REFUSED if isinstance(answer, Refused) else DropCause.LOST, parcel.fresh)
            ledger.lost_messages += parcel.numbered
            outbox.keep_for_later(parcel)


def _count_accepted(parcel: Parcel, *, outbox: Outbox, ledger: Ledger) -> None:
    ledger.published += parcel.fresh
    ledger.repeated += parcel.repeated
    ledger.messages += parcel.numbered
    for gap in parcel.gaps:
        ledger.declare(gap.cause, instrument_ns=gap.instruments * (gap.end_ns - gap.start_ns))
    if parcel.numbered:
        outbox.recovered()  # a beat alone proves nothing: it touches the fence record only
    outbox.told_holes = parcel.holes or outbox.told_holes
