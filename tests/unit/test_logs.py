"""No secret leaves through a log line, whatever carried it there."""

from __future__ import annotations

import io
import json
import logging

import pytest

from ticker_common.logs import REDACTED, configure_logging, redact, register_secret

CANARY = "c4n4ryTokenValue0123456789"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"GET wss://ws.kite.trade/?api_key=k&access_token={CANARY}", id="query of a socket URL"),
        pytest.param(f"Authorization: token apikey12:{CANARY}", id="header of a REST call"),
        pytest.param(f"Authorization: Bearer {CANARY}", id="bearer token of the API server"),
        pytest.param(f'{{"access_token": "{CANARY}"}}', id="member of a JSON body"),
        pytest.param(f"{{'api_secret': '{CANARY}'}}", id="member of a printed dict"),
        pytest.param(f"redis://user:{CANARY}@redis:6379/0", id="password in a Redis URL"),
        pytest.param(f"redis://:{CANARY}@redis:6379/0", id="password without a user"),
    ],
)  # fmt: skip
def test_shapes_of_secrets_are_redacted(text: str) -> None:
    assert CANARY not in redact(text)
    assert REDACTED in redact(text)


def test_a_registered_value_is_redacted_in_any_text() -> None:
    register_secret("registered-value-1")

    assert redact("about registered-value-1 here") == f"about {REDACTED} here"


def test_prose_about_tokens_is_left_alone() -> None:
    assert redact("token expired; token rejected by the broker") == "token expired; token rejected by the broker"


def test_an_exception_with_a_secret_is_logged_without_it() -> None:
    out = io.StringIO()
    before, level = logging.getLogger().handlers[:], logging.getLogger().level
    configure_logging(stream=out)
    try:
        try:
            raise ValueError(f"bad URL wss://host/?access_token={CANARY}")
        except ValueError:
            logging.getLogger("test").exception("connect failed", extra={"pass": 7, "url": f"ws://h/?api_key={CANARY}"})
    finally:
        logging.getLogger().handlers[:] = before
        logging.getLogger().setLevel(level)

    line = json.loads(out.getvalue())
    assert CANARY not in out.getvalue()
    assert line["pass"] == 7
    assert line["level"] == "error"
    assert "ValueError" in line["exception"]
