"""The publisher's decisions, without clock or socket: rows, events and answers in, requests out.

Work goes in *rounds*. `plan_round` says what is due (reads of records, claims, asserts, calls with and without
rows) as a list that one pipeline carries in order; `settle_round` takes the answers in the same order. Rounds
do not overlap, so nothing is outstanding in any channel when the next one is planned.

Two promises hold across both:

* **Nothing older than the fence is written.** Each call carries term, holder and a number of its own; what a
  refused, late or lost answer means is `Handover`'s decision, and after every doubt the channel's newest values
  are rewritten. A rewrite takes the queued rows of the instruments it repeats with it, so per instrument a
  channel never goes back.
* **The ledger adds up**: every row offered is queued, in a parcel, or counted (`ledger`).

Lost is: nothing at a planned hand-over; one round of rows when the process or its connection dies (counted where
somebody is left to count), and then the newest values are rewritten by whoever publishes next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ticker_shard.publish import fence
from ticker_shard.publish.backpressure import Level
from ticker_shard.publish.core_state import CoreState
from ticker_shard.publish.duties import vanished_fields
from ticker_shard.publish.fence import Answer, Request
from ticker_shard.publish.handover import Effect, Phase
from ticker_shard.publish.lanes import lanes_of
from ticker_shard.publish.ledger import DropCause
from ticker_shard.publish.limits import (
    FLUSH_NS,
    ROUND_ROWS_MAX,
    SETTLING_FRESH_NS,
    SETTLING_REPEAT_NS,
    SETTLING_SOON_NS,
)
from ticker_shard.publish.outbox import Outbox
from ticker_shard.publish.roster import Roster, mask_of
from ticker_shard.publish.settling import settle_parcel
from ticker_shard.publish.sweep import page_due, settle_page
from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.rows import Slots, TickRows


class PublisherCore(CoreState):
    """One account's publishing, as a state machine; see `core_state.CoreState` for what it takes."""

    # -- from the feed and the assignment

    def configure(self, table: InstrumentTable, *, now_ns: int, wall_ns: int) -> None:
        """Apply a table; its revision is not lower than the one before."""
        self._assigned = table
        self._apply_table(now_ns=now_ns, wall_ns=wall_ns)

    def _apply_table(self, *, now_ns: int, wall_ns: int) -> None:
        """Go over to the table that was assigned, in as many lanes as are due."""
        assert self._assigned is not None
        stages = self.handover.stages
        capacity = self._per_socket if stages.parts == stages.sockets else self._assigned.assigned
        table = lanes_of(self._assigned, parts=stages.parts, lanes=stages.lanes, capacity=capacity)
        before = self.table
        if before is not None:
            self._intake.purge(before, table, outboxes=self._outboxes)
            self._unreadable = {name: why for name, why in self._unreadable.items() if name in table.members}
        fields = vanished_fields(before, table)
        owed = self.duties.configure(table)
        roster = self._roster = Roster(table)
        self.handover.configure((channel.name for channel in table.channels), revision=table.revision)
        for name in self.duties.barriers:
            self.handover.call_soon(name)
        self._intake.configure(roster)
        if any(roster.settling[slots].any() for slots in owed.values()):
            self._settling_fresh_ns = now_ns + SETTLING_FRESH_NS
            self._settling_due_ns = now_ns + SETTLING_SOON_NS
        rewritten = self._calls.configure(table)
        for name in [*table.members, *self._outboxes]:
            outbox = self._outboxes.setdefault(name, Outbox())
            outbox.fit(table.capacity, publishing=roster.publishing.get(name))
            outbox.taken[owed.get(name, [])] = False  # another account may have taken it meanwhile
            if self.handover.holds(name):
                if name in owed:
                    outbox.repeat(roster.publishing[name] if name in rewritten else owed[name])
                outbox.delete(fields.get(name, ()), wanted=roster.symbols_of(name))
        self._forget_vanished()
        self.holes.configure(roster, held=self.handover.held, now_ns=now_ns, wall_ns=wall_ns)
        self.batcher.configure({name: len(table.members.get(name, ())) for name in self._outboxes})

    def offer(self, rows: TickRows, *, now_ns: int) -> None:
        """Take rows that validation passed."""
        self._offered_ns = now_ns
        self.relief.look(now_ns=now_ns)
        self._intake.offer(rows, now_ns=now_ns)

    def refresh(self, slots: Slots) -> None:
        """Publish the newest rows of these once more: what is computed has changed, the broker sent nothing."""
        roster = self._roster
        if roster is None:
            return
        wanted = mask_of(slots, roster.table.capacity)
        for name in self.handover.held:
            if name in roster:
                self._outboxes[name].repeat(wanted & roster.publishing[name])

    def reject(self, reason: str, slots: Slots) -> None:
        """Account for rows that validation refused."""
        self._intake.reject(reason, slots)

    def report_gap(self, slots: Slots, *, start_ns: int, end_ns: int, cause: str) -> None:
        """Tell consumers of a hole in the feed of these instruments, in each channel that is held."""
        for name in self.handover.held:
            self.holes.declare(name, slots, start_ns=start_ns, end_ns=end_ns, cause=cause)

    # -- rounds

    def advance(self, *, now_ns: int) -> None:
        """Let time pass, also while Redis cannot be reached: a drain ends all the same."""
        self._now_ns = now_ns
        self.relief.look(now_ns=now_ns)
        quiet = self._offered_ns is None or now_ns - self._offered_ns >= self.handover.timing.yield_ns
        self.handover.advance(now_ns=now_ns, idle=quiet and self.ledger.in_flight() == 0)
        if self.handover.freeing and self._flush_until_ns is None:
            self._intake.open = False  # what is queued is finite now
            self._flush_until_ns = now_ns + FLUSH_NS
            self.batcher.frame_complete()
        if self._flush_until_ns is not None and now_ns >= self._flush_until_ns and self.handover.phase is Phase.ACTIVE:
            self.handover.give_up()

    def plan_round(self, *, now_ns: int, wall_ns: int) -> list[Request]:
        """What is due now, in the order in which it is to be sent; empty when nothing is."""
        return list(self.requests_due(now_ns=now_ns, wall_ns=wall_ns))

    def requests_due(self, *, now_ns: int, wall_ns: int) -> Iterator[Request]:
        """`plan_round`, request by request, so that Redis works on one call while the next is being encoded.

        To be gone through to the end, and at once: nothing else may happen to the core before.
        """
        self.advance(now_ns=now_ns)
        if self.handover.phase is Phase.GONE:
            return
        if self.handover.poll_due(now_ns=now_ns):
            yield from [fence.Read(name) for name in self.handover.begin_poll(now_ns=now_ns)]
        yield from self.handover.begin_claims()
        yield from self.handover.begin_asserts()
        yield from self.rehearsal.requests(self.table, now_ns=now_ns, wall_ns=wall_ns)
        self._repeat_settling(now_ns)
        budget = ROUND_ROWS_MAX
        held = self.handover.held
        for name in held[self._first % max(len(held), 1) :] + held[: self._first % max(len(held), 1)]:
            outbox = self._outboxes[name]
            if self.handover.may_call(name) and self._calls.anything_due(name, outbox, now_ns=now_ns):
                yield from page_due(name, outbox, now_ns=now_ns)
                for call in self._calls.calls(name, outbox, budget=budget, now_ns=now_ns, wall_ns=wall_ns):
                    budget -= len(call.rows)
                    yield call
        self._first += 1

    def settle_round(
        self,
        requests: Sequence[Request],
        answers: Sequence[Answer],
        *,
        sent_ns: int,
        now_ns: int,
        wall_ns: int,
    ) -> None:
        """Take in the answers to one round, in its order."""
        assert len(requests) == len(answers), (len(requests), len(answers))
        others = [answer for answer in answers if not isinstance(answer, fence.Accepted)]  # nearly always none
        if others:
            self._observe(requests, answers, sent_ns=sent_ns, now_ns=now_ns)
        failures = [trouble for answer in others if (trouble := fence.trouble_of_redis(answer)) is not None]
        self.trouble = failures[-1] if failures else None
        if len(others) < len(answers):
            self.relief.progressed(now_ns=now_ns)
        for request, answer in zip(requests, answers, strict=True):
            match request:
                case fence.Call(channel, epoch) if epoch:
                    self._settle_call(channel, request, answer, sent_ns=sent_ns, now_ns=now_ns, wall_ns=wall_ns)
                case fence.Call():
                    self.trouble = self.rehearsal.answered(answer) or self.trouble
                case fence.Read(channel):
                    self._unreadable.pop(channel, None)
                    if isinstance(answer, fence.Refused):
                        self.handover.poll_failed(channel)
                        if fence.trouble_of_redis(answer) is None:
                            self._unreadable[channel] = answer.trouble
                case fence.Claim():
                    self._settle_claim(request, answer, now_ns=now_ns, wall_ns=wall_ns)
                case fence.Assert(channel):
                    self._apply(channel, self.handover.assert_answered(request, answer))
                case fence.Owned(channel):
                    if self.table is not None and self.handover.holds(channel):
                        settle_page(channel, self._outboxes[channel], answer, table=self.table, now_ns=now_ns)
        if any(isinstance(answer, fence.Unanswered) for answer in others):
            self.disconnected()
        self._forget_vanished()
        self._divide_anew(now_ns=now_ns, wall_ns=wall_ns)

    def _observe(self, requests: Sequence[Request], answers: Sequence[Answer], *, sent_ns: int, now_ns: int) -> None:
        """Take in the records that were read."""
        records = {
            request.channel: answer.record
            for request, answer in zip(requests, answers, strict=True)
            if isinstance(answer, fence.Seen)
        }
        if records:
            self.handover.polled(records, sent_ns=sent_ns, now_ns=now_ns)

    def _divide_anew(self, *, now_ns: int, wall_ns: int) -> None:
        """Go over to another number of lanes, unless a late call may still bring what another lane then has newer."""
        if self._assigned is None or not self.handover.divides_anew:
            return
        if not any(outbox.unanswered for outbox in self._outboxes.values()):
            self.handover.divide()
            self._apply_table(now_ns=now_ns, wall_ns=wall_ns)

    def disconnected(self) -> None:
        """The connection is gone (also when it never came up): what was observed over it counts no more."""
        self.handover.disconnected()
        for name in self.handover.held:
            self._outboxes[name].behind(since_ns=self._now_ns)
            self._repeat_all(name)

    def redis_away(self, away: bool) -> None:
        """Redis is known to be away: keep only newest values; or it is back."""
        self.relief.redis_away(away, now_ns=self._now_ns)

    def close_books(self) -> None:
        """The process goes: what is still in flight is lost, by name."""
        assert self.handover.phase is Phase.GONE
        self._intake.open = False
        for name, outbox in self._outboxes.items():
            assert not outbox.sent, "a round is under way"
            outbox.settle_unanswered(known_n=None, ledger=self.ledger)
            self.ledger.drop(DropCause.SHUTDOWN, self.batcher.discard(name))

    # -- private: planning

    def _repeat_settling(self, now_ns: int) -> None:
        """Until it is told to stop, the other account may write too, and its last row may land behind a newer one."""
        roster = self._roster
        if roster is None or now_ns < self._settling_due_ns or self.relief.level is Level.SHED:
            return
        fresh = now_ns < self._settling_fresh_ns
        self._settling_due_ns = now_ns + (SETTLING_SOON_NS if fresh else SETTLING_REPEAT_NS)
        for name in self.handover.held:
            if name in roster:
                self._outboxes[name].repeat(roster.settling & roster.members[name])

    # -- private: settling

    def _settle_claim(self, claim: fence.Claim, answer: Answer, *, now_ns: int, wall_ns: int) -> None:
        name = claim.channel
        effect = self.handover.claim_answered(name, answer, now_ns=now_ns)
        if isinstance(answer, fence.Claimed):
            lost = claim.expected is None  # the record, and with it what it said of its holder's last call
            unheard_ns = self._unheard_ns(name, now_ns=now_ns) if lost else None
            self._outboxes[name].begin_term(now_ns=now_ns)
            revision = None if claim.expected is None else claim.expected.revision
            self.holes.term_begins(
                name, answer, reason=claim.reason, revision=revision, unheard_ns=unheard_ns, wall_ns=wall_ns
            )
            self._apply(name, effect)

    def _settle_call(
        self, name: str, call: fence.Call, answer: Answer, *, sent_ns: int, now_ns: int, wall_ns: int
    ) -> None:
        outbox, known_before = self._outboxes[name], self.handover.acknowledged_n(name)
        parcel = outbox.sent.pop(call.n)
        # An earlier call of this pipeline was fenced: none behind it can be accepted, answered or not.
        over = self.handover.epoch(name) != parcel.mark.epoch
        effect = self.handover.call_answered(parcel.mark, answer)
        settle_parcel(parcel, answer, outbox=outbox, known_before=known_before, over=over, ledger=self.ledger)
        if isinstance(answer, fence.Accepted):
            if parcel.fresh:
                self.latency.record(parcel.fresh_ns, acknowledged_ns=wall_ns)
            self.duties.accepted(name, parcel.slots, revision=parcel.revision)
            self.holes.accepted(name, now_ns=now_ns, wall_ns=wall_ns)
        else:
            outbox.behind(since_ns=sent_ns)
        if isinstance(answer, fence.Refused) and fence.trouble_of_redis(answer) is None:
            outbox.refused(answer.trouble, now_ns=now_ns)
        self._apply(name, effect)

    def _apply(self, name: str, effect: Effect) -> None:
        outbox = self._outboxes[name]
        match effect:
            case Effect.REWRITE:
                self._repeat_all(name)
            case Effect.ASSERT:
                # Redis lost this term: what it did with unanswered calls before that cannot be asked any more.
                outbox.settle_unanswered(known_n=None, ledger=self.ledger)
                self._repeat_all(name)
            case Effect.DROPPED | Effect.RELEASED:
                outbox.settle_unanswered(known_n=None, ledger=self.ledger)
                left = self.batcher.discard(name)
                if effect is Effect.DROPPED:
                    self.ledger.superseded += left
                else:
                    self.ledger.drop(DropCause.SHUTDOWN if self.handover.freeing else DropCause.REMOVED, left)
                outbox.abandon(ledger=self.ledger)
            case Effect.KEEP_ON | Effect.NOTHING:
                pass

    def _repeat_all(self, name: str) -> None:
        if self._roster is not None and name in self._roster:
            self._outboxes[name].repeat(self._roster.publishing[name])
            self._outboxes[name].taken[:] = False

    def _forget_vanished(self) -> None:
        """Drop what belongs to channels that neither the table nor the hand-over knows any more."""
        for name in [name for name in self._outboxes if not self.handover.knows(name)]:
            outbox = self._outboxes[name]
            outbox.settle_unanswered(known_n=None, ledger=self.ledger)
            if not outbox.sent:
                self.ledger.drop(DropCause.REMOVED, self.batcher.discard(name))
                del self._outboxes[name]
