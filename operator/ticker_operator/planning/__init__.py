"""Who streams what: resolve, strategies, capacity, moves, fail-over. Pure: no clock, chance, IO or asyncio."""

from ticker_operator.planning.budget import MoveBudget
from ticker_operator.planning.dump import DumpError, parse_dump
from ticker_operator.planning.failover import FailoverLimits, judge_accounts, next_deadline_ns
from ticker_operator.planning.moves import drain_state, next_tables
from ticker_operator.planning.resolve import resolve
from ticker_operator.planning.strategies import plan

__all__ = [
    "DumpError",
    "FailoverLimits",
    "MoveBudget",
    "drain_state",
    "judge_accounts",
    "next_deadline_ns",
    "next_tables",
    "parse_dump",
    "plan",
    "resolve",
]
