"""Which image a vehicle may install: signed metadata in the layout of The Update Framework (TUF).

The rules are python-tuf's `TrustedMetadataSet`; this module feeds it bytes in the order of the
specification's client workflow (TUF 1.0.31, section 5), and touches no file and no network. All
metadata comes as one bundle, a JSON object from file name to text, so that a fleet needs one
request a vehicle and not five.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from tuf.api import exceptions
from tuf.api.metadata import TargetFile
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

MAX_ROOTS = 32
"""New roots that are followed in one go."""


class RefusedError(ValueError):
    """The metadata is not to be trusted; `reason` is what the vehicle reports."""

    def __init__(
        self, reason: str, detail: str = "", trust: Mapping[str, bytes] | None = None
    ) -> None:
        self.reason = reason
        self.trust = dict(trust or {})
        """What was verified before the fault was found: the caller keeps it all the same."""
        super().__init__(f"{reason}: {detail}" if detail else reason)


class Image(NamedTuple):
    """What the signed metadata says about an image."""

    target: str
    length: int
    """Bytes."""
    sha256: str
    version: str
    release: int
    """Counts up with every image that is published: what makes a signed old image a replay."""


class Trusted(NamedTuple):
    image: Image
    trust: dict[str, bytes]
    """What is trusted from now on, by role; the caller keeps it."""


class _Set(TrustedMetadataSet):
    """Expiry is judged by the vehicle's clock, and not by that of the machine that simulates it."""

    def __init__(self, root: bytes, now: dt.datetime) -> None:
        super().__init__(root, EnvelopeType.METADATA)
        self.reference_time = now


def check_metadata(
    trust: Mapping[str, bytes], bundle: bytes, target: str, epoch_s: float
) -> Trusted:
    """What the metadata says about `target` at `epoch_s`, s since the epoch.

    `trust` holds at least the `root` that the vehicle was made with. `RefusedError` names the
    attack that it looks like: `signature`, `freeze`, `rollback`, `mix and match`, `metadata` (not
    readable), or `unknown target`.
    """
    try:
        texts = msgspec.json.decode(bundle, type=dict[str, str])
    except msgspec.DecodeError as error:
        raise RefusedError("metadata", str(error)) from None
    files = {name: text.encode() for name, text in texts.items()}
    kept = dict(trust)
    known = _Set(kept["root"], dt.datetime.fromtimestamp(epoch_s, dt.UTC))
    steps = (_roots, _timestamp, _snapshot, _targets)
    for step in steps:
        try:
            step(known, files, kept)
        except exceptions.RepositoryError as error:
            raise RefusedError(_reason(error, step is _timestamp), str(error), kept) from None
        except KeyError as missing:
            raise RefusedError("mix and match", f"{missing.args[0]} is missing", kept) from None
    found = known.targets.targets.get(target)
    if found is None:
        raise RefusedError("unknown target", target, kept)
    return Trusted(_image(target, found), kept)


def _roots(known: _Set, files: Mapping[str, bytes], kept: dict[str, bytes]) -> None:
    for _ in range(MAX_ROOTS):
        data = files.get(f"{known.root.version + 1}.root.json")
        if data is None:
            return
        known.update_root(data)
        kept["root"] = data


def _timestamp(known: _Set, files: Mapping[str, bytes], kept: dict[str, bytes]) -> None:
    _reload(known.update_timestamp, kept, "timestamp")
    try:
        known.update_timestamp(files["timestamp.json"])
    except exceptions.EqualVersionNumberError:
        # The one we have counts. If it has expired, `update_snapshot` finds out.
        return
    except exceptions.ExpiredMetadataError:
        kept["timestamp"] = files["timestamp.json"]  # verified, and bounds what may follow
        raise
    kept["timestamp"] = files["timestamp.json"]


def _snapshot(known: _Set, files: Mapping[str, bytes], kept: dict[str, bytes]) -> None:
    _reload(lambda data: known.update_snapshot(data, trusted=True), kept, "snapshot")
    data = files[f"{known.timestamp.snapshot_meta.version}.snapshot.json"]
    known.update_snapshot(data)
    kept["snapshot"] = data


def _targets(known: _Set, files: Mapping[str, bytes], kept: dict[str, bytes]) -> None:
    data = files[f"{known.snapshot.meta['targets.json'].version}.targets.json"]
    known.update_targets(data)
    kept["targets"] = data


def _reason(error: exceptions.RepositoryError, of_timestamp: bool) -> str:
    match error:
        case exceptions.ExpiredMetadataError():
            return "freeze"
        case exceptions.BadVersionNumberError():
            # Only the timestamp stands alone; any other part that is older than it should be does
            # not fit to the parts beside it.
            return "rollback" if of_timestamp else "mix and match"
        case exceptions.LengthOrHashMismatchError():
            return "mix and match"
        case exceptions.UnsignedMetadataError():
            return "signature"
    return "metadata"


def _reload(load: Any, kept: Mapping[str, bytes], role: str) -> None:
    """Load what was trusted before. That it has expired, or does not fit to what is newer, is no
    error: it still bounds what may follow."""
    data = kept.get(role)
    if data is not None:
        try:
            load(data)
        except exceptions.RepositoryError:
            return


def _image(path: str, target: TargetFile) -> Image:
    custom = target.custom if isinstance(target.custom, dict) else {}
    version, release = custom.get("version"), custom.get("release")
    sha256 = target.hashes.get("sha256")
    if not isinstance(version, str) or not isinstance(release, int) or sha256 is None:
        raise RefusedError("metadata", f"{path} has no version, release and SHA-256")
    return Image(path, target.length, sha256, version, release)
