"""Memory that only the start needed, given back: the pages of the library that links kernels.

llvmlite is LLVM in one file of 170 MB. Linking kernels from their cache touches two fifths of it, which then stay
resident: nearly half of what a shard holds before its first frame, and nothing of it runs again. They are pages of a
file on disk that nobody has changed; the kernel takes such pages away by itself once memory is short, and reads them
again should they be wanted. We only ask it to do so now, so that what a pod is seen to use is what it needs.
"""

from __future__ import annotations

import ctypes
import mmap
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LINKER: Final = "libllvmlite"
_MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ +(\S+)$")
_KIB: Final = 1_024


@dataclass(slots=True)
class Mapping:
    """A part of the address space that shows a file.

    Attributes
    ----------
    start, end
        Addresses.
    path
        The file.
    writable
        Whether the process may write to it.
    resident, own
        Bytes in memory, and those of them that are not the file's any more: changed, or private.
    """

    start: int
    end: int
    path: str
    writable: bool
    resident: int = 0
    own: int = 0


def mappings_of(smaps: str, *, library: str) -> list[Mapping]:
    """The mappings of a library.

    Parameters
    ----------
    smaps
        As ``/proc/self/smaps`` has it.
    library
        How the file's name begins.
    """
    found: list[Mapping] = []
    listed = False
    for line in smaps.splitlines():
        if match := _MAPPING.match(line):
            listed = Path(match[4]).name.startswith(library)
            if listed:
                found.append(Mapping(int(match[1], 16), int(match[2], 16), match[4], "w" in match[3]))
        elif "-" in line.split(" ", 1)[0]:  # a mapping without a file
            listed = False
        elif listed:
            name, _, size = line.partition(":")
            if name == "Rss":
                found[-1].resident = int(size.split()[0]) * _KIB
            elif name in ("Anonymous", "Private_Dirty", "Shared_Dirty", "Swap"):
                found[-1].own += int(size.split()[0]) * _KIB
    return found


def give_back_linker() -> int:
    """Let go of the pages of `LINKER` that are as they are on disk; how many bytes those were.

    To be called when every kernel is loaded. Where the system does not show or take it, nothing happens.
    """
    try:
        smaps = Path("/proc/self/smaps").read_text()
        madvise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return 0
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    given = 0
    for mapping in mappings_of(smaps, library=LINKER):
        if mapping.writable or mapping.own:
            continue  # to drop these would undo the loader's work
        if madvise(mapping.start, mapping.end - mapping.start, mmap.MADV_DONTNEED) == 0:
            given += mapping.resident
    return given
