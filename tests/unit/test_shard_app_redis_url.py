"""Whatever the file holds, the process stays up and says what is wrong, without the URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from ticker_common.logs import redact
from ticker_shard.app.redis_url import RedisUrlFile


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="no file"),
        pytest.param(b"", id="empty"),
        pytest.param(b"canaryHost:6379", id="no scheme"),
        pytest.param(b"http://canaryHost", id="another protocol"),
        pytest.param(b"redis://:canaryPass@h:notaport/0", id="bad port"),
        pytest.param(b"redis://[canary", id="bad brackets"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"redis://" + b"x" * 5_000, id="too long"),
    ],
)
def test_an_unusable_file_is_a_fault_in_words(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "url"
    if content is not None:
        path.write_bytes(content)

    url = RedisUrlFile(path)

    assert url() == ""
    assert url.fault is not None
    assert "canary" not in url.fault


def test_a_url_is_read_again_and_its_password_is_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("redis://u:redisPassOne@h:6379/0\n")
    url = RedisUrlFile(path)

    assert url() == "redis://u:redisPassOne@h:6379/0"
    assert url.fault is None
    assert not url.changed
    path.write_text("redis://u:redisPassTwo@h:6379/0")
    assert url.changed
    assert url() == "redis://u:redisPassTwo@h:6379/0"
    assert "redisPassOne" not in redact("about redisPassOne")
