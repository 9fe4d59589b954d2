"""The vendor's own KiteTicker in a process of its own (its reactor cannot be started twice): what it saw, line by line.

Reads one JSON line: ``{"root", "api_key", "access_token", "modes": {"full": [token…]}}``; then writes one JSON line per
callback until its standard input is closed. Times become Unix seconds; everything else is as the package decoded it.
"""

from __future__ import annotations

import calendar
import datetime as dt
import json
import sys
import threading
from typing import Any

from kiteconnect import KiteTicker


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return calendar.timegm(value.timetuple())  # the process runs in UTC, so the package's local time is UTC
    raise TypeError(type(value).__name__)


def _say(event: str, **facts: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **facts}, default=_plain) + "\n")
    sys.stdout.flush()


def main() -> None:
    order = json.loads(sys.stdin.readline())
    ticker = KiteTicker(order["api_key"], order["access_token"], root=order["root"])

    def on_connect(ws: Any, response: Any) -> None:
        if not ticker.subscribed_tokens:  # later the package itself subscribes again
            for mode, tokens in order["modes"].items():
                ws.subscribe(tokens)
                ws.set_mode(mode, tokens)
        _say("connect")

    ticker.on_connect = on_connect
    ticker.on_ticks = lambda ws, ticks: _say("ticks", ticks=ticks)
    ticker.on_error = lambda ws, code, reason: _say("error", code=code, reason=str(reason))
    ticker.on_close = lambda ws, code, reason: _say("close", code=code, reason=str(reason))
    ticker.on_reconnect = lambda ws, attempt: _say("reconnect", attempt=attempt)
    ticker.on_order_update = lambda ws, data: _say("order", data=data)
    ticker.connect(threaded=True)
    sys.stdin.read()
    ticker.close()
    ticker.stop()


if __name__ == "__main__":
    threading.excepthook = lambda args: _say("crash", error=repr(args.exc_value))
    main()
