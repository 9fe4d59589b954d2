"""Where things lie in a pool's state folder.

::

    objects.json                      uid, generation and age of what is declared
    redis-url                         the Redis that the shards use (0600)
    status/<Kind>/<name>.json         what the operator says about an object
    accounts/<account>/               the account's folder: what its shard reads and writes
        instance-id  assignment.json  instruments.csv.gz  token  status.json  lock  process.json  shard.log
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

STATUS_FILE: Final = "status.json"
TOKEN_FILE: Final = "token"  # noqa: S105 - a file's name
INSTANCE_FILE: Final = "instance-id"


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below one state folder."""

    root: Path

    @property
    def register(self) -> Path:
        """Memory of declared objects."""
        return self.root / "objects.json"

    @property
    def redis_url(self) -> Path:
        """File with the Redis URL."""
        return self.root / "redis-url"

    @property
    def accounts(self) -> Path:
        """Folder of the accounts' folders."""
        return self.root / "accounts"

    def account(self, name: str) -> Path:
        """One account's folder."""
        return self.accounts / name

    def status(self, kind: str, name: str) -> Path:
        """What the operator says about one object."""
        return self.root / "status" / kind / f"{name}.json"
