"""What a person sees of a pool on one machine where there is no terminal: lines, each trouble once while it stands."""

from __future__ import annotations

import io

from rich.console import Console

from ticker_operator.app.local_view import LINE_EVERY_S, LiveView

LONG = "a [long] line that is longer than forty columns"


def test_a_trouble_is_told_when_it_has_been_judged_and_once_while_it_stands() -> None:
    output = io.StringIO()
    view = LiveView(Console(file=output, width=40))
    view.start()
    for turn, notes in enumerate([("left by an earlier run",), (LONG,), ("again",), ("again",)], 1):
        view.show({}, notes=notes, now_s=turn * LINE_EVERY_S)
    view.stop(("again", "at the end"))

    assert output.getvalue().splitlines() == [LONG, "again", "at the end"]


def test_between_two_measurements_the_last_rate_is_shown() -> None:
    output = io.StringIO()
    view = LiveView(Console(file=output, width=200))
    for half_seconds in range(2 * int(LINE_EVERY_S) + 1):
        report = {"confirmed": 1, "ledger": {"published": 100 * (half_seconds // 2)}}  # written once a second
        shard = {"reason": "Streaming", "assigned": 1, "report": report}
        view.show({"acc1": shard}, notes=(), now_s=1_000.0 + half_seconds / 2)

    assert [line.split(", ")[2] for line in output.getvalue().splitlines()] == ["0 ticks/s", "100 ticks/s"]
