"""The environment that the pricing peers live in: built once, from hash-locked requirements, apart from the product's.

`py_vollib_vectorized` needs old releases of what it stands on, and none of the peers is a dependency of anything here.
So they are installed into ``build/peers`` when a measurement first asks for them, and again when the lock changes.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

LOCK: Final = Path(__file__).parent / "peers-requirements.txt"
HOME: Final = Path(__file__).parent.parent / "build" / "peers"
STAMP: Final = HOME / "installed.txt"


def peers_python() -> Path:
    """The interpreter with the peers beside it.

    Raises
    ------
    subprocess.CalledProcessError
        When they cannot be installed (no package index within reach).
    """
    python = HOME / "bin" / "python"
    if not STAMP.exists() or STAMP.read_text() != LOCK.read_text():
        print("peers: installing into build/peers …", file=sys.stderr, flush=True)
        venv.create(HOME, clear=True, with_pip=True)
        install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "-r", LOCK]
        subprocess.run(install, check=True)
        STAMP.write_text(LOCK.read_text())
    return python
