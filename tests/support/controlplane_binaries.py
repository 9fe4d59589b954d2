"""Programs of the control plane for the API and cluster levels: found, cached, or built from source.

Order of search:

1. ``KUBEBUILDER_ASSETS`` (etcd, kube-apiserver, kubectl), for the API level only: the cluster level wants all of its
   parts from one release;
2. a cache folder of our own, named after everything that determines the result: go.mod, go.sum, sources, flags;
3. a build of ``tests/controlplane`` with Go, once, under a lock; each program appears in the cache by one rename.

Kubernetes is one binary that acts by the name it is started by, so its programs are links to ``kube``.

``python -m tests.support.controlplane_binaries`` makes sure that all of them are there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).parent.parent / "controlplane"
KUBERNETES: Final = "v1.35.4"
VERSION_PACKAGE: Final = "k8s.io/component-base/version"
MAJOR, MINOR = KUBERNETES.removeprefix("v").split(".")[:2]
LDFLAGS: Final = (
    f"-s -w -X {VERSION_PACKAGE}.gitVersion={KUBERNETES} -X {VERSION_PACKAGE}.gitMajor={MAJOR} "
    f"-X {VERSION_PACKAGE}.gitMinor={MINOR} -X {VERSION_PACKAGE}.gitTreeState=clean"
)
FLAGS: Final = ("-trimpath", "-buildvcs=false", "-ldflags", LDFLAGS)
TARGETS: Final = {
    "etcd": ("go.etcd.io/etcd/server/v3", "about 2 minutes"),
    "kube": ("./kube", "about 7 minutes"),
    "helm": ("helm.sh/helm/v4/cmd/helm", "about 1 minute"),
    "coredns": ("./coredns", "about half a minute"),
}
OWN_MAINS: Final = ("kube", "coredns")  # other folders of the module are nobody's business here
KUBE_NAMES: Final = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
)
API_LEVEL: Final = ("etcd", "kube-apiserver", "kubectl")
CLUSTER_LEVEL: Final = ("etcd", *KUBE_NAMES, "coredns", "helm")
PROGRESS_S: Final = 30.0
CACHES_KEPT: Final = 2  # 0.3 GiB each: today's, and the one before for whoever goes back and forth


class BinariesUnavailableError(RuntimeError):
    """The programs cannot be had on this machine: why, and what would help."""


@dataclass(frozen=True)
class Binaries:
    """Where each program is."""

    paths: dict[str, Path]

    def __getitem__(self, name: str) -> Path:
        return self.paths[name]


def find_binaries(names: Sequence[str] = API_LEVEL, *, say: Callable[[str], None] = print) -> Binaries:
    """All of `names`, built if need be.

    Raises
    ------
    BinariesUnavailableError
        When they are neither here nor can be built.
    """
    given = os.environ.get("KUBEBUILDER_ASSETS")
    if given and set(names) <= set(API_LEVEL):
        paths = {name: Path(given) / name for name in names}
        absent = [name for name, path in paths.items() if not os.access(path, os.X_OK)]
        if not absent:
            return Binaries(paths)
        say(f"KUBEBUILDER_ASSETS lacks {', '.join(absent)}: taking our own")
    folder = cache_folder()
    wanted = sorted({_target(name) for name in names}, key=list(TARGETS).index)
    if any(not _is_there(folder, target) for target in wanted):
        _build(folder, wanted, say=say)
    return Binaries({name: folder / name for name in names})


def cache_folder() -> Path:
    """The folder for exactly these sources and flags; it may not exist yet."""
    return _cache_root() / f"controlplane-{_source_hash()}"


def _cache_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tickershard"


def _source_hash() -> str:
    files = [
        SOURCE / "go.mod",
        SOURCE / "go.sum",
        *sorted(path for own in OWN_MAINS for path in (SOURCE / own).glob("*.go")),
    ]
    seen = hashlib.sha256("\0".join(FLAGS).encode())
    for path in files:
        seen.update(path.relative_to(SOURCE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return seen.hexdigest()[:16]


def _target(name: str) -> str:
    return "kube" if name in KUBE_NAMES else name


def _is_there(folder: Path, target: str) -> bool:
    links = KUBE_NAMES if target == "kube" else ()
    return all(os.access(folder / name, os.X_OK) for name in (target, *links))


def _build(folder: Path, targets: Sequence[str], *, say: Callable[[str], None]) -> None:
    with _one_builder(say=say):
        folder.mkdir(parents=True, exist_ok=True)
        for target in targets:
            if not _is_there(folder, target):
                install(folder, target, _compile(folder, target, say=say))
        _forget_old_caches(folder)


def install(folder: Path, target: str, program: Path) -> None:
    """Let `program`, a finished file in `folder`, appear under its name, and for Kubernetes under all of its names."""
    for name in KUBE_NAMES if target == "kube" else ():
        temporary = folder / f".{name}.{os.getpid()}"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(folder / name)
    program.replace(folder / target)


def _compile(folder: Path, target: str, *, say: Callable[[str], None]) -> Path:
    go = shutil.which("go")
    if go is None:
        raise BinariesUnavailableError(
            f"there is no {target} and no Go to build it with: install Go, or set KUBEBUILDER_ASSETS (setup-envtest) "
            "for the API level"
        )
    package, usual = TARGETS[target]
    program = folder / f".{target}.{os.getpid()}"
    log = folder / f"{target}.log"
    say(f"== building {target} from source ({usual} on 2 cores the first time)")
    started = time.monotonic()
    with log.open("wb") as out:
        compiler = subprocess.Popen(
            [go, "build", *FLAGS, "-o", str(program), package],
            cwd=SOURCE,
            env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        while True:
            try:
                code = compiler.wait(PROGRESS_S)
                break
            except subprocess.TimeoutExpired:
                say(f"   {target}: {time.monotonic() - started:.0f} s")
            except BaseException:
                compiler.kill()
                compiler.wait()
                program.unlink(missing_ok=True)
                raise
    if code != 0:
        program.unlink(missing_ok=True)
        raise BinariesUnavailableError(f"{target} cannot be built:\n" + "\n".join(log.read_text().splitlines()[-15:]))
    say(f"   {target}: done in {time.monotonic() - started:.0f} s")
    return program


@contextmanager
def _one_builder(*, say: Callable[[str], None]) -> Iterator[None]:
    """Two builders would only wait for each other's compiler: the second waits for the first, then finds the files."""
    root = _cache_root()
    root.mkdir(parents=True, exist_ok=True)
    with (root / "controlplane.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("== waiting for another build of the control plane")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget_old_caches(current: Path) -> None:
    others = [path for path in current.parent.glob("controlplane-*") if path.is_dir() and path != current]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for old in others[CACHES_KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)


def main() -> int:
    """Make sure that all programs are there; exit code 1 where everything must run and they cannot be had."""
    try:
        binaries = find_binaries(CLUSTER_LEVEL, say=lambda line: print(line, flush=True))
    except BinariesUnavailableError as error:
        print(f"control plane: {error}", file=sys.stderr)
        return 1 if os.environ.get("REQUIRE_CLUSTER") == "1" else 0
    print(f"control plane: {binaries['kubectl'].parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
