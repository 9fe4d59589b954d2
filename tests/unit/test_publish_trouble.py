"""The name of an error answer, in the words of the Redis versions that are about."""

from __future__ import annotations

import pytest
from redis import exceptions

from ticker_shard.publish.fence import TroubleKind
from ticker_shard.publish.trouble import classify

OF_REDIS_6 = "Error running script (call to f_e70acab8682): @user_script:40: @user_script: 40: -"
OF_REDIS_7 = " script: e70acab8682, on @user_script:40."


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("-READONLY You can't write against a read only replica.", TroubleKind.READ_ONLY),
        ("-OOM command not allowed when used memory > 'maxmemory'.", TroubleKind.OUT_OF_MEMORY),
        ("-WRONGTYPE Operation against a key holding the wrong kind of value", TroubleKind.WRONG_TYPE),
    ],
)
@pytest.mark.parametrize("form", ["{} " + OF_REDIS_7, OF_REDIS_6 + "{}"], ids=["redis 7", "redis 6"])
def test_an_error_within_a_script_has_its_name_wherever_redis_puts_the_place(
    message: str, kind: TroubleKind, form: str
) -> None:
    text = form.format(message.removeprefix("-")) if form.startswith("Error") else form.format(message)

    assert classify(exceptions.ResponseError(text)).kind is kind
