"""Compiling kernels, once: where the machine code is kept, for which processors, and what happens when it cannot be.

`kernel` is numba's ``njit`` with four decisions of ours, because a shard that compiles at its start is late by
seconds, and one that compiles at its first frame loses ticks:

* **Where.** ``NUMBA_CACHE_DIR`` when it is set (the image: compiled while it is built, read-only while it runs), else
  ``__pycache__`` beside the source (a development tree), else the user's cache directory. A directory that cannot be
  written is still read, which numba itself refuses. With none at all, kernels are compiled in memory.
* **For whom.** numba compiles for the very processor it runs on, and keeps the result under that processor's name and
  features: an image built on one machine would compile anew on the next. Ours are compiled for a *level* that many
  processors have: `X86_64_V3` (AVX2, every server since 2015) where the machine has it, else the architecture's
  baseline. The results are the same bits on each: nothing is contracted or reordered.
* **Lightness.** A kernel that is in the cache is loaded without what compiling it would need. A kernel that calls
  numba's own implementations of array functions (`array.max()`) pulls that in all the same, so ours do not.
* **Freshness.** numba asks only whether a kernel's own file has changed; a kernel also holds the code of those it
  calls. Ours are stale when any source file of their package has changed.

Importing this module sets numba's target processor for the whole process; whoever has chosen one by
``NUMBA_CPU_NAME`` keeps it. numba reads the environment itself, we do not.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from llvmlite import binding
from numba import config as numba_config
from numba import njit
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    InTreeCacheLocator,
    UserProvidedCacheLocator,
    UserWideCacheLocator,
)
from numba.core.runtime.nrt import rtsys

log = logging.getLogger(__name__)
config: Any = numba_config  # its names are made while it is imported

X86_64_V3: Final = "x86-64-v3"
V3_FEATURES: Final = frozenset({"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"})
BASELINE: Final = "generic"

_Function = TypeVar("_Function", bound=Callable[..., Any])


def processor_level() -> str:
    """The highest level of this machine's processor that kernels are compiled for."""
    if not binding.get_default_triple().startswith("x86_64"):
        return BASELINE
    features = binding.get_host_cpu_features()
    return X86_64_V3 if all(features.get(name) for name in V3_FEATURES) else BASELINE


def _target_level() -> None:
    if not config.CPU_NAME:
        config.CPU_NAME = processor_level()
        config.CPU_FEATURES = config.CPU_FEATURES or ""


_target_level()


@functools.lru_cache(maxsize=64)
def package_stamp(folder: Path) -> str:
    """A digest of all sources of a package."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


class _Readable:
    """A place is good when it can be written, or holds something that can be read."""

    _py_file: str

    def get_source_stamp(self) -> str:
        return package_stamp(Path(self._py_file).parent)

    @classmethod
    def from_function(cls, function: Any, source: str) -> Any:
        if issubclass(cls, UserProvidedCacheLocator) and not config.CACHE_DIR:
            return None
        make: Any = cls
        locator = make(function, source)
        try:
            locator.ensure_cache_path()
        except OSError:
            if not any(Path(locator.get_cache_path()).glob("*.nbi")):
                return None
        return locator


class _Given(_Readable, UserProvidedCacheLocator):
    pass


class _InTree(_Readable, InTreeCacheLocator):
    pass


class _UserWide(_Readable, UserWideCacheLocator):
    pass


class _Files(CompileResultCacheImpl):
    _locator_classes = [_Given, _InTree, _UserWide]  # noqa: RUF012 - numba's name and shape


class KernelCache(FunctionCache):
    """numba's cache of one function, in our places; what cannot be written is told once and compiled in memory."""

    _impl_class = _Files

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Machine code that was kept, or nothing.

        numba makes its target ready for compiling first: everything it can compile is imported (scipy among it), a
        second of a start and 25 MiB. Machine code needs the runtime that it calls, and no more. What is not in the
        cache is compiled, and for that numba makes everything ready itself.
        """
        rtsys.initialize(target_context)
        return self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep compiled code, if that is possible."""
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except OSError as error:
            _tell(error.strerror or str(error))


@functools.lru_cache(maxsize=1)  # said once, not for each kernel
def _tell(cause: str) -> None:
    log.warning("kernels are compiled at each start: their cache cannot be written", extra={"cause": cause})


def kernel(function: _Function) -> _Function:
    """Compile `function` at its first call, or take it from the cache: no Python objects, IEEE division, no checks.

    Parameters
    ----------
    function
        At module level, of arrays and numbers.
    """
    compiled: Any = njit(error_model="numpy")(function)
    try:
        compiled._cache = KernelCache(function)  # type: ignore[no-untyped-call] # what numba's own enable_caching() does, with our class
    except RuntimeError as error:  # no place at all
        _tell(str(error))
    return cast(_Function, compiled)
