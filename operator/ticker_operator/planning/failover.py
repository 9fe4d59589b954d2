"""Whether an account can stream: dead by its own word, silent by our clock, or we are the ones who do not see.

A shard that *says* its token is refused is believed at once. One that says its feed is mute (open sockets, an open
market, heartbeats and nothing else, and nothing that it tried has helped) is believed too, unless more than half of
those that are alive say so: then it is the market that stands still, by a holiday or a halt, and nothing moves.

Silence is judged by the operator's own monotonic clock, from the moment it last *saw* the shard's Lease change; no
other machine's clock is read. A silent shard is marked after `detect_after`; its instruments move after `move_after`,
because a container restart is quicker than a move.

When more than half of all shards that should run are silent at once, it is the observer that is broken (its network,
its API server): nothing moves. After an account was dead or lost it is given nothing new for `hold_down`, unless
nobody else has room: a token that flaps must not drag thousands of instruments to and fro.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from ticker_crds.constants import Condition
from ticker_operator.model import AccountView, Health, PoolSnapshot, ShardView, Verdict

SECOND_NS: Final = 1_000_000_000
_HOLDS_DOWN: Final = frozenset({Health.DEAD, Health.LOST})
_OUT_OF_SIGHT: Final = frozenset({Health.SILENT, Health.LOST})
_EXPECTED: Final = frozenset({Health.ALIVE, Health.STARTING, *_OUT_OF_SIGHT})


@dataclass(frozen=True, slots=True)
class FailoverLimits:
    """When silence becomes what.

    Attributes
    ----------
    detect_after_ns
        A Lease unchanged for so long: silent. Above two renewals (2 s each).
    move_after_ns
        Silent for so long in all: lost. Above a container restart and its warm-up.
    start_after_ns
        A shard that never gave a sign of life is starting for so long (image pull), then lost.
    hold_down_ns
        For so long an account that came back is given nothing new.
    """

    detect_after_ns: int = 5 * SECOND_NS
    move_after_ns: int = 15 * SECOND_NS
    start_after_ns: int = 180 * SECOND_NS
    hold_down_ns: int = 60 * SECOND_NS

    def __post_init__(self) -> None:
        assert self.detect_after_ns < self.move_after_ns <= self.start_after_ns, self


def judge_accounts(
    snapshot: PoolSnapshot, *, limits: FailoverLimits, previous: Mapping[str, Verdict]
) -> dict[str, Verdict]:
    """Every account's health; `previous` is the last pass's answer (empty after a start)."""
    judged = {
        account.name: _judge(account, snapshot.shard(account.name), now_ns=snapshot.now_ns, limits=limits)
        for account in sorted(snapshot.accounts, key=lambda account: account.name)
    }
    expected = [verdict for verdict in judged.values() if verdict.health in _EXPECTED]
    unseen = sum(verdict.health in _OUT_OF_SIGHT for verdict in expected)
    if 2 * unseen > len(expected):
        message = (
            f"{unseen:,} of {len(expected):,} shards are silent at once: the fault is more likely with the operator's "
            "own view, so nothing is moved"
        )
        judged = {
            name: Verdict(Health.HELD, message) if verdict.health is Health.LOST else verdict
            for name, verdict in judged.items()
        }
    judged = _heeding_the_mute(snapshot, judged)
    return {
        name: _carried_on(verdict, previous.get(name), now_ns=snapshot.now_ns, limits=limits)
        for name, verdict in judged.items()
    }


def next_deadline_ns(snapshot: PoolSnapshot, *, limits: FailoverLimits, verdicts: Mapping[str, Verdict]) -> int | None:
    """When a judgement may change by the clock alone: the next pass is due then at the latest."""
    deadlines: list[int] = []
    for account in snapshot.accounts:
        signs = snapshot.shard(account.name).signs
        seen_ns = signs.first_seen_ns if signs.renewed_ns is None else signs.renewed_ns
        deadlines += [seen_ns + limits.detect_after_ns, seen_ns + limits.move_after_ns]
        deadlines.append(signs.first_seen_ns + limits.start_after_ns)
        if account.name in verdicts:
            deadlines.append(verdicts[account.name].hold_until_ns)
        if account.drain_deadline_ns is not None:
            deadlines.append(account.drain_deadline_ns)
    return min((deadline for deadline in deadlines if deadline > snapshot.now_ns), default=None)


def _heeding_the_mute(snapshot: PoolSnapshot, judged: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """Accounts that are well but for a mute feed are dead; if they are the most, the market is."""
    alive = [name for name, verdict in judged.items() if verdict.health is Health.ALIVE]
    reports = {name: snapshot.shard(name).report for name in alive}
    mute = {name for name, report in reports.items() if report is not None and report.reported_mute}
    if 2 * len(mute) > len(alive):
        message = (
            f"the feeds of {len(mute):,} of {len(alive):,} accounts are mute at once: the market is more likely to "
            "stand still than all of them to be broken, so nothing is moved"
        )
        verdict = Verdict(Health.HELD, message)
    else:
        verdict = Verdict(Health.DEAD, "its sockets are open and bring nothing although the market is open")
    return {name: verdict if name in mute else given for name, given in judged.items()}


def _judge(account: AccountView, shard: ShardView, *, now_ns: int, limits: FailoverLimits) -> Verdict:
    """One account by itself; the first that applies."""
    report, signs = shard.report, shard.signs
    if account.leaving and shard.gone:
        return Verdict(Health.STOPPED, "its last process has ended")
    if report is not None and report.reported_dead:
        told = report.condition(Condition.CREDENTIALS_VALID)
        return Verdict(Health.DEAD, told.message if told is not None and told.message else "its token is refused")
    quiet_ns = now_ns - (signs.first_seen_ns if signs.renewed_ns is None else signs.renewed_ns)
    if account.refusal is not None and not _streams_on(shard, quiet_ns, limits):
        return Verdict(Health.UNUSABLE, account.refusal.message)
    if report is None and signs.renewed_ns is None:
        if quiet_ns < limits.start_after_ns:
            return Verdict(Health.STARTING, "no sign of life from its shard yet")
        return Verdict(Health.LOST, f"its shard gave no sign of life within {_seconds(limits.start_after_ns)}")
    if quiet_ns < limits.detect_after_ns:
        return Verdict(Health.ALIVE if report is not None else Health.STARTING)
    if quiet_ns < limits.move_after_ns:
        return Verdict(Health.SILENT, f"no sign of life for more than {_seconds(limits.detect_after_ns)}")
    return Verdict(Health.LOST, f"no sign of life for more than {_seconds(limits.move_after_ns)}")


def _streams_on(shard: ShardView, quiet_ns: int, limits: FailoverLimits) -> bool:
    """An open socket outlives the loss of its Secret: what streams is not taken away for it."""
    connected = shard.report.condition(Condition.CONNECTED) if shard.report is not None else None
    return connected is not None and connected.status == "True" and quiet_ns < limits.move_after_ns


def _carried_on(verdict: Verdict, before: Verdict | None, *, now_ns: int, limits: FailoverLimits) -> Verdict:
    if before is None:
        return replace(verdict, since_ns=now_ns)
    hold_until_ns = before.hold_until_ns
    if before.health in _HOLDS_DOWN and verdict.health not in _HOLDS_DOWN:
        hold_until_ns = now_ns + limits.hold_down_ns
    since_ns = before.since_ns if before.health is verdict.health else now_ns
    return replace(verdict, since_ns=since_ns, hold_until_ns=hold_until_ns)


def _seconds(duration_ns: int) -> str:
    return f"{duration_ns / SECOND_NS:g} s"
