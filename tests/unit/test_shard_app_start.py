"""What a start leaves behind: kernels from the cache bring no compiler's library along, and give their linker back."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ticker_shard.app.give_back import Mapping, mappings_of

WARM = """
import json, sys
from ticker_shard.app.give_back import give_back_linker
from ticker_shard.app.kernels import warm_up
from ticker_shard.ticks import Engine

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))

used = warm_up(Engine.NATIVE)
before = resident()
given = give_back_linker()
after = resident()
again = warm_up(Engine.NATIVE)
print(json.dumps([sorted(sys.modules), before, given, after, again == used]))
"""
SMAPS = """\
7f0000000000-7f0000001000 r--p 00000000 fd:00 42                         /opt/lib/libllvmlite.so
Size:                  4 kB
Rss:                   4 kB
Private_Dirty:         0 kB
Anonymous:             0 kB
7f0000001000-7f0000003000 r-xp 00001000 fd:00 42                         /opt/lib/libllvmlite.so
Rss:                   8 kB
Anonymous:             0 kB
7f0000003000-7f0000004000 r--p 00003000 fd:00 42                         /opt/lib/libllvmlite.so
Rss:                   4 kB
Anonymous:             4 kB
7f0000004000-7f0000005000 rw-p 00004000 fd:00 42                         /opt/lib/libllvmlite.so
Rss:                   4 kB
Private_Dirty:         4 kB
7f0000005000-7f0000009000 rw-p 00000000 00:00 0
Rss:                  16 kB
7f0000009000-7f000000a000 r-xp 00000000 fd:00 43                         /usr/lib/libc.so.6
Rss:                   4 kB
7f000000a000-7f000000b000 rw-p 00000000 00:00 0                          [heap]
Rss:                   4 kB
"""


def test_a_library_s_mappings_are_told_from_all_others() -> None:
    path = "/opt/lib/libllvmlite.so"

    found = mappings_of(SMAPS, library="libllvmlite")

    assert found == [
        Mapping(0x7F0000000000, 0x7F0000001000, path, writable=False, resident=4_096, own=0),
        Mapping(0x7F0000001000, 0x7F0000003000, path, writable=False, resident=8_192, own=0),
        Mapping(0x7F0000003000, 0x7F0000004000, path, writable=False, resident=4_096, own=4_096),
        Mapping(0x7F0000004000, 0x7F0000005000, path, writable=True, resident=4_096, own=4_096),
    ]


@pytest.fixture(scope="module")
def warmed() -> tuple[set[str], int, int, int, bool]:
    answer = subprocess.run([sys.executable, "-c", WARM], capture_output=True, text=True, check=True, timeout=120)
    modules, *rest = json.loads(answer.stdout)
    return (set(modules), *rest)


def test_kernels_from_the_cache_load_no_compiler_s_library(warmed: tuple[set[str], int, int, int, bool]) -> None:
    modules = warmed[0]

    assert "ticker_shard.ticks.native" in modules
    assert not {"scipy.linalg", "scipy.special", "numba.np.arraymath", "numba.cpython.unicode"} & modules


def test_the_linker_s_pages_are_given_back_and_kernels_work_on(warmed: tuple[set[str], int, int, int, bool]) -> None:
    _, before, given, after, works = warmed

    assert given > 20 << 20
    assert before - after > given * 0.9
    assert works
