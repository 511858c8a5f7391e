"""Repository of firmware images: signs and publishes them in the layout of The Update Framework.

Four roles with an Ed25519 key each (`root`, `timestamp`, `snapshot`, `targets`), kept in a folder
for its owner alone (mode 0600). `metadata/` and `targets/` are laid out as TUF clients expect with
consistent snapshots. Beside them stands `metadata/bundle.json`, all current metadata in one object:
what a vehicle reads through one presigned URL.
"""

import datetime as dt
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from fleet_sim.cloud.target import Target

ROLES = ("root", "timestamp", "snapshot", "targets")
LIFE = {
    "root": dt.timedelta(days=365),
    "timestamp": dt.timedelta(days=1),
    "snapshot": dt.timedelta(days=7),
    "targets": dt.timedelta(days=90),
}
"""How long signed metadata is good for: the shorter, the sooner a freeze is noticed."""


class FirmwareError(RuntimeError):
    """The repository's files are damaged, or an image cannot be published; names the file."""


class Repository:
    """Keys and current metadata in memory; `save` and `open` keep them in a folder."""

    def __init__(self, signers: dict[str, CryptoSigner], now: dt.datetime) -> None:
        self._signers = signers
        self.images: dict[str, bytes] = {}
        """Target path to content, of what was published through this object."""
        root = Root(version=1, expires=_whole(now + LIFE["root"]), consistent_snapshot=True)
        for role in ROLES:
            root.add_key(signers[role].public_key, role)
        self.targets = Targets(version=1, expires=now)
        self.snapshot = Snapshot(version=1, expires=now)
        self.timestamp = Timestamp(version=1, expires=now)
        self.files: dict[str, bytes] = {"1.root.json": self._signed("root", root)}
        """Metadata by file name; older versions stay, as clients may be in the middle of them."""
        self._root = root
        self._release = 0
        self._sign(now)

    @classmethod
    def create(cls, now: dt.datetime) -> "Repository":
        """With new keys."""
        return cls({role: CryptoSigner.generate_ed25519() for role in ROLES}, now)

    @classmethod
    def open(cls, folder: Path, now: dt.datetime) -> "Repository":
        """The repository of a folder, made when there is none. `FirmwareError`."""
        keys = folder / "keys"
        if not keys.exists():
            made = cls.create(now)
            made.save(folder)
            return made
        repository = cls({role: _signer(keys / f"{role}.pem") for role in ROLES}, now)
        repository._load(folder / "metadata")
        return repository

    def save(self, folder: Path) -> None:
        """Write keys and metadata."""
        keys, metadata = folder / "keys", folder / "metadata"
        keys.mkdir(parents=True, exist_ok=True, mode=0o700)
        for role, signer in self._signers.items():
            descriptor = os.open(keys / f"{role}.pem", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(signer.private_bytes)
        metadata.mkdir(parents=True, exist_ok=True)
        for name, data in self.files.items():
            (metadata / name).write_bytes(data)

    @property
    def root(self) -> bytes:
        """What a vehicle is made with: the first root."""
        return self.files["1.root.json"]

    def publish(
        self,
        target: str,
        version: str,
        content: bytes | None,
        now: dt.datetime,
        *,
        length: int | None = None,
        sha256: str | None = None,
    ) -> int:
        """Sign an image under the next release number, which is returned.

        Without content, `length` and `sha256` describe an image that is counted and not sent.
        A rollback is an older image that is published anew: only a higher release is installed.
        """
        if target in self.targets.targets:
            raise FirmwareError(f"{target} is published already (allowed: a path of its own)")
        if content is not None:
            length, sha256 = len(content), hashlib.sha256(content).hexdigest()
            self.images[target] = content
        if length is None or sha256 is None:
            raise FirmwareError(f"{target} has neither content nor length and SHA-256")
        self._release += 1
        custom = {"version": version, "release": self._release}
        described: Any = {"custom": custom}
        self.targets.targets[target] = TargetFile(
            length, {"sha256": sha256}, target, unrecognized_fields=described
        )
        self.refresh(now)
        return self._release

    def refresh(self, now: dt.datetime) -> None:
        """Sign targets, snapshot and timestamp anew, each with its next version."""
        for signed in (self.targets, self.snapshot, self.timestamp):
            signed.version += 1
        self._sign(now)

    def rotate(self, role: str, now: dt.datetime) -> None:
        """Give a role a new key: the new root is signed with the old root's key and the new one."""
        old_root = self._signers["root"]
        old = self._signers[role].public_key.keyid
        self._signers[role] = CryptoSigner.generate_ed25519()
        self._root.revoke_key(old, role)
        self._root.add_key(self._signers[role].public_key, role)
        self._root.version += 1
        self._root.expires = _whole(now + LIFE["root"])
        metadata = Metadata(self._root)
        metadata.sign(old_root)
        if role == "root":
            metadata.sign(self._signers["root"], append=True)
        self.files[f"{self._root.version}.root.json"] = metadata.to_bytes()
        self.refresh(now)

    def bundle(self) -> bytes:
        """All that a vehicle needs now, from whatever root it knows."""
        names = [n for n in self.files if n.endswith(".root.json")]
        names += [
            "timestamp.json",
            f"{self.snapshot.version}.snapshot.json",
            f"{self.targets.version}.targets.json",
        ]
        return json.dumps({name: self.files[name].decode() for name in names}).encode()

    def objects(self) -> Iterator[tuple[str, bytes]]:
        """Key and content of everything to be served, in an order in which no client ever sees a
        part whose other parts are missing: images, metadata, and the timestamp and bundle last."""
        for target, content in self.images.items():
            folder, slash, name = target.rpartition("/")
            digest = hashlib.sha256(content).hexdigest()
            yield f"targets/{folder}{slash}{digest}.{name}", content
        for name, data in self.files.items():
            if name != "timestamp.json":
                yield f"metadata/{name}", data
        yield "metadata/timestamp.json", self.files["timestamp.json"]
        yield "metadata/bundle.json", self.bundle()

    # -- inside -----------------------------------------------------------------------------------

    def _load(self, folder: Path) -> None:
        self.files = {file.name: file.read_bytes() for file in sorted(folder.glob("*.json"))}
        try:
            roots = [int(n.partition(".")[0]) for n in self.files if n.endswith(".root.json")]
            self._root = Metadata[Root].from_bytes(self.files[f"{max(roots)}.root.json"]).signed
            self.timestamp = Metadata[Timestamp].from_bytes(self.files["timestamp.json"]).signed
            snapshot = f"{self.timestamp.snapshot_meta.version}.snapshot.json"
            self.snapshot = Metadata[Snapshot].from_bytes(self.files[snapshot]).signed
            targets = f"{self.snapshot.meta['targets.json'].version}.targets.json"
            self.targets = Metadata[Targets].from_bytes(self.files[targets]).signed
        except (KeyError, ValueError) as error:
            raise FirmwareError(f"{folder}: {error} is missing or damaged") from error
        releases = (t.custom["release"] for t in self.targets.targets.values() if t.custom)
        self._release = max(releases, default=0)

    def _sign(self, now: dt.datetime) -> None:
        self.targets.expires = _whole(now + LIFE["targets"])
        targets = self._signed("targets", self.targets)
        self.files[f"{self.targets.version}.targets.json"] = targets
        self.snapshot.expires = _whole(now + LIFE["snapshot"])
        self.snapshot.meta["targets.json"] = _meta(self.targets.version, targets)
        snapshot = self._signed("snapshot", self.snapshot)
        self.files[f"{self.snapshot.version}.snapshot.json"] = snapshot
        self.timestamp.expires = _whole(now + LIFE["timestamp"])
        self.timestamp.snapshot_meta = _meta(self.snapshot.version, snapshot)
        self.files["timestamp.json"] = self._signed("timestamp", self.timestamp)

    def _signed(self, role: str, signed: Any) -> bytes:
        metadata: Metadata[Any] = Metadata(signed)
        metadata.sign(self._signers[role])
        return metadata.to_bytes()


def upload(repository: Repository, target: Target, bucket: str) -> None:
    """Put everything that is served into a bucket."""
    s3 = target.client("s3")
    for key, content in repository.objects():
        s3.put_object(Bucket=bucket, Key=key, Body=content)


def _whole(moment: dt.datetime) -> dt.datetime:
    return moment.replace(microsecond=0)


def _meta(version: int, data: bytes) -> MetaFile:
    return MetaFile(version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})


def _signer(file: Path) -> CryptoSigner:
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FirmwareError(f"{file}: cannot be read as a private key ({error})") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise FirmwareError(f"{file}: is no Ed25519 key (allowed: one that this tool made)")
    return CryptoSigner(key)
