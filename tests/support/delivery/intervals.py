"""Arithmetic of intervals: what is left of one when others are taken away."""

from __future__ import annotations

from collections.abc import Iterable

from tests.support.delivery.history import Interval


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The same times, disjoint and in order."""
    joined: list[Interval] = []
    for each in sorted(intervals, key=lambda one: (one.start_ns, one.end_ns)):
        if joined and each.start_ns <= joined[-1].end_ns:
            if each.end_ns > joined[-1].end_ns:
                joined[-1] = Interval(joined[-1].start_ns, each.end_ns)
        elif each.start_ns <= each.end_ns:
            joined.append(each)
    return joined


def uncovered(whole: Interval, covers: Iterable[Interval]) -> list[Interval]:
    """The stretches of `whole` that no cover reaches."""
    left: list[Interval] = []
    at_ns = whole.start_ns
    for each in union(covers):
        if each.end_ns <= at_ns:
            continue
        if each.start_ns >= whole.end_ns:
            break
        if each.start_ns > at_ns:
            left.append(Interval(at_ns, each.start_ns))
        at_ns = each.end_ns
    if at_ns < whole.end_ns:
        left.append(Interval(at_ns, whole.end_ns))
    return left


def length_ns(each: Interval) -> int:
    """How long."""
    return each.end_ns - each.start_ns


def longest(intervals: Iterable[Interval]) -> Interval | None:
    """The longest of some, if any."""
    return max(intervals, key=length_ns, default=None)
