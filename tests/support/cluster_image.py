"""Container images for the test cluster: built by buildah on a base made by debootstrap, kept by content in the cache.

Nothing here is downloaded from a registry of images. The base is Debian with Python (what `python:3.11-slim` is, too);
the pod's pause program is built from `tests/controlplane/pause`; Redis is Debian's. An archive is named after a hash of
everything it was made from, so a second run finds it and a changed Dockerfile never meets a stale one.

Where docker is the tool at hand, `make image` is a plain `docker build .` under the name that the chart asks for.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import yaml

from tests.support.cluster_machine import MachineError

ROOT: Final = Path(__file__).resolve().parents[2]
PAUSE_SOURCE: Final = ROOT / "tests" / "controlplane" / "pause" / "main.go"
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tickershard"
IMAGES: Final = CACHE / "images"
STORAGE: Final = CACHE / "buildah"
ARCHIVES_KEPT: Final = 2  # of one name, 0.4 GiB each: today's, and the one before; a tree under work makes many
TAGS_KEPT: Final = 3  # in buildah's storage, whose layers make the next build quick

SUITE: Final = "bookworm"
BASE_PACKAGES: Final = ("python3", "python3-venv", "ca-certificates")
BASE_IMAGE: Final = "localhost/tickershard-test/base:1"
PAUSE_IMAGE: Final = "localhost/tickershard-test/pause:1"
REDIS_IMAGE: Final = "localhost/tickershard-test/redis:1"

# The runtime's package sources: what `.dockerignore` lets through.
IMAGE_SOURCES: Final = (
    "Dockerfile",
    ".dockerignore",
    "pyproject.toml",
    "README.md",
    "requirements.txt",
    "requirements-dev.txt",
    "client",
    "common",
    "crds",
    "operator",
    "shard",
    "simulator",
)
CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")


def chart_image() -> str:
    """The image that the chart asks for as long as no value names another."""
    chart = ROOT / "charts" / "tickershard"
    values, about = (yaml.safe_load((chart / name).read_text()) for name in ("values.yaml", "Chart.yaml"))
    return f"{values['image']['repository']}:{about['appVersion']}"


def product_archive() -> Path:
    """The image of the Dockerfile, with everything in the checkout as it is now."""
    sources = [file for name in IMAGE_SOURCES for file in _files(ROOT / name)]
    digest = _digest([SUITE, *BASE_PACKAGES], sources)
    return _cached("tickershard", digest, lambda archive: _build_product(archive, digest))


def pause_archive() -> Path:
    """The program that holds a pod's namespaces, alone in its image."""

    def build(archive: Path) -> None:
        binary = archive.with_suffix(".bin")
        environment = {**os.environ, "CGO_ENABLED": "0", "GO111MODULE": "off"}
        flags = ("-trimpath", "-ldflags", "-s -w")
        _run(["go", "build", *flags, "-o", str(binary), str(PAUSE_SOURCE)], environment=environment)
        try:
            dockerfile = f'FROM scratch\nCOPY {binary.name} /pause\nUSER 65535:65535\nENTRYPOINT ["/pause"]\n'
            _build(PAUSE_IMAGE, archive, dockerfile=dockerfile, context=binary.parent)
        finally:
            binary.unlink()

    return _cached("pause", _digest([], [PAUSE_SOURCE]), build)


def redis_archive() -> Path:
    """Debian's redis-server on the local base."""
    dockerfile = f"""FROM {BASE_IMAGE}
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends redis-server && rm -rf /var/lib/apt/lists
USER 65532:65532
ENTRYPOINT ["redis-server"]
"""

    def build(archive: Path) -> None:
        _ensure_base()
        _build(REDIS_IMAGE, archive, dockerfile=dockerfile, context=archive.parent)

    return _cached("redis", _digest([SUITE, *BASE_PACKAGES, dockerfile], []), build)


def product_image(digest: str) -> str:
    """Reference of the product's image in the test cluster."""
    return f"localhost/tickershard-test/tickershard:{digest[:12]}"


# -- building -----------------------------------------------------------------


def _build_product(archive: Path, digest: str) -> None:
    _ensure_base()
    with _pip_configuration() as secrets:
        _build(product_image(digest), archive, context=ROOT, options=[f"--build-arg=BASE_IMAGE={BASE_IMAGE}", *secrets])
    _forget_tags()


def _ensure_base() -> None:
    """Debian with Python, installed right into the image's file system."""
    if _buildah("images", "--quiet", "--filter", f"reference={BASE_IMAGE}").strip():
        return
    print(f"== base image: Debian {SUITE} with {', '.join(BASE_PACKAGES)}", flush=True)
    container = _buildah("from", "scratch").strip()
    try:
        root = Path(_buildah("mount", container).strip())
        _run(["debootstrap", "--variant=minbase", f"--include={','.join(BASE_PACKAGES)}", SUITE, str(root)])
        for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
            shutil.rmtree(root / waste)
        (root / "var/cache/apt/archives/partial").mkdir(parents=True)
        _buildah("umount", container)
        _buildah("commit", "--quiet", container, BASE_IMAGE)
    finally:
        _buildah("rm", container)


def _build(
    image: str, archive: Path, *, context: Path, dockerfile: str | None = None, options: Sequence[str] = ()
) -> None:
    file = ["--file=-"] if dockerfile is not None else []
    _buildah(
        *("bud", "--quiet", "--isolation=chroot", "--layers", f"--tag={image}"),
        *(*options, *file, str(context)),
        stdin=dockerfile,
    )
    # Uncompressed: the archive goes from here into the runtime beside it.
    _buildah("push", "--quiet", "--disable-compression", image, f"docker-archive:{archive}:{image}")


@contextmanager
def _pip_configuration() -> Iterator[list[str]]:
    """What this machine's pip knows (mirror, certificates, folders of wheels), lent to the build as secrets.

    They are visible to `pip` while it runs, and in no layer and no history of the image.
    """
    python = shutil.which("python3") or "python3"
    listed = _run([python, "-m", "pip", "config", "list"]).splitlines()
    settings = {}
    for line in listed:
        key, separator, value = line.partition("=")
        section = key.strip(":").replace(":.", ".").partition(".")
        if separator and section[0] in ("global", "install", "env"):
            settings[section[2]] = value.strip("'\"")
    settings.pop("find-links", None)  # a folder of this machine
    with tempfile.TemporaryDirectory() as folder:
        if CERTIFICATES.exists():
            settings["cert"] = "/run/secrets/ca"
        file = Path(folder) / "pip.conf"
        file.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))
        secrets = [f"--secret=id=pip,src={file}"]
        if CERTIFICATES.exists():
            secrets.append(f"--secret=id=ca,src={CERTIFICATES}")
        yield secrets


# -- the cache ------------------------------------------------------------------


def _cached(name: str, digest: str, build: Callable[[Path], None]) -> Path:
    """The archive of that name and content: as it lies there, or built, appearing by one rename."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    archive = IMAGES / f"{name}-{digest[:12]}.tar"
    with (IMAGES / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            started = time.monotonic()
            print(f"== image {name}", flush=True)
            unfinished = archive.with_suffix(".part")
            unfinished.unlink(missing_ok=True)
            build(unfinished)
            unfinished.replace(archive)
            print(
                f"   {name}: {archive.stat().st_size / 2**20:.0f} MiB in {time.monotonic() - started:.0f} s", flush=True
            )
        archive.touch()
        _forget(name, archive)
    return archive


def _forget(name: str, current: Path) -> None:
    others = sorted(set(IMAGES.glob(f"{name}-*.tar")) - {current}, key=lambda path: path.stat().st_mtime)
    for old in others[: -(ARCHIVES_KEPT - 1)]:
        old.unlink()


def _forget_tags() -> None:
    """Old tags of the product's image go, and with them the layers that no newer one shares."""
    repository = product_image("").rstrip(":")
    newest_first = _buildah("images", "--format={{.Name}}:{{.Tag}}", f"--filter=reference={repository}").split()
    for old in newest_first[TAGS_KEPT:]:
        _buildah("rmi", old)


def _files(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    return sorted(
        file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc"
    )


def _digest(words: Iterable[str], files: Iterable[Path]) -> str:
    seen = hashlib.sha256("\0".join(words).encode())
    for file in files:
        seen.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return seen.hexdigest()


# -- commands ---------------------------------------------------------------------


def _buildah(*arguments: str, stdin: str | None = None) -> str:
    STORAGE.mkdir(parents=True, exist_ok=True)
    storage = ["--root", str(STORAGE / "root"), "--runroot", str(STORAGE / "run"), "--storage-driver", "overlay"]
    return _run(["buildah", *storage, *arguments], stdin=stdin)


def _run(command: Sequence[str], *, stdin: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    outcome = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env=None if environment is None else {**environment},
    )
    if outcome.returncode != 0:
        said = f"{outcome.stdout}{outcome.stderr}".strip()[-3000:]
        raise MachineError(f"{' '.join(command[:2])} … ended with {outcome.returncode}:\n{said}")
    return outcome.stdout


def main() -> int:
    """Build the product's image; where docker is at hand and buildah is not, by docker."""
    if shutil.which("buildah") is None and shutil.which("docker") is not None:
        return subprocess.run(["docker", "build", "--tag", chart_image(), str(ROOT)], check=False).returncode
    archive = product_archive()
    print(f"{archive}\n(docker load, ctr images import: {product_image(archive.stem.rpartition('-')[2])})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
