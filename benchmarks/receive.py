"""Receiving 40 kB frames (about 217 full packets) over loopback, plain and with TLS: processor time a frame.

The product's own listener path beside the `websockets` package and beside a raw socket that only finds the frames
(`benchmarks.receivers`). The sender is the same for all and not measured; each contender is a process of its own, whose
user and kernel time count, so what the machine does besides disturbs little.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.receivers import CLIENTS, FRAME_BYTES
from benchmarks.results import Bound, Result, at_least, at_most, interleave
from benchmarks.stage import child

FRAMES: Final = {"ws": 6_000, "wss": 3_000}
TITLES: Final = {"ws": "plain", "wss": "TLS"}
BESIDE_WEBSOCKETS: Final[dict[str, tuple[Bound, Bound | None]]] = {
    "ws": (at_least(5), at_least(3)),
    "wss": (at_least(2.5), None),
}


def results(*, quick: bool = False) -> list[Result]:
    """Each contender in turn, plain and with TLS."""
    with tempfile.TemporaryDirectory() as work:
        certificate, key = self_signed(Path(work))
        with child("-m", "benchmarks.receivers", "sender", str(certificate), str(key), name="sender") as sender:
            found = []
            for scheme, frames in FRAMES.items():
                rounds = interleave(
                    {
                        who: partial(cpu_us, who, sender.greeting[scheme], frames, certificate=certificate)
                        for who in CLIENTS
                    },
                    rounds=1 if quick else 3,
                )
                name = f"receive {FRAME_BYTES // 1_000} kB frames, {TITLES[scheme]}"
                shard_us = rounds.median("shard")
                goal, gate = BESIDE_WEBSOCKETS[scheme]
                found += [
                    Result(
                        name=name,
                        value=shard_us,
                        unit="µs of processor a frame",
                        peer=f"websockets: {rounds.median('websockets'):.1f}",
                        ratio=rounds.ratio("websockets", "shard"),
                        goal=goal,
                        gate=gate,
                    ),
                    Result(
                        name=f"{name}, against the limit",
                        value=shard_us,
                        unit="µs of processor a frame",
                        peer=f"raw socket: {rounds.median('raw'):.1f}",
                        ratio=rounds.ratio("shard", "raw"),
                        goal=at_most(1.5),
                    ),
                ]
            return found


def cpu_us(who: str, url: str, frames: int, *, certificate: Path) -> float:
    """Microseconds of processor time a frame, in a fresh process."""
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.receivers", who, url, str(frames)],
        env={**os.environ, "SSL_CERT_FILE": str(certificate)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    )
    return float(json.loads(answer.stdout))


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, made now and gone with the folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / "certificate.pem", folder / "key.pem"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_path, key_path
