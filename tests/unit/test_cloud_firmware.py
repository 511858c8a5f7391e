"""Signed metadata: what is published is taken, eight attacks are refused, each by its name.

An independent judge beside it: TUF's own `Updater`, which reads the same repository as files.
"""

import datetime as dt
import hashlib
import json
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tuf.api import exceptions
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from fleet_sim.cloud.firmware import LIFE, FirmwareError, Repository
from fleet_sim.vehicle.ota_trust import Image, RefusedError, check_metadata

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)  # `Updater` judges by the wall clock
TARGET = "m/1.1.0-r2.img"
CONTENT = b"new image"


class Files(FetcherInterface):
    """Serves a repository's files from memory."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix("https://repository/")
        if name not in self.files:
            raise exceptions.DownloadHTTPError("not found", 404)
        yield self.files[name]


@pytest.fixture
def repository() -> Repository:
    made = Repository.create(NOW)
    made.publish("m/1.0.0-r1.img", "1.0.0", b"old image", NOW)
    made.publish(TARGET, "1.1.0", CONTENT, NOW)
    return made


def check(
    bundle: Mapping[str, str] | bytes,
    trust: Mapping[str, bytes],
    target: str = TARGET,
    at: dt.datetime = NOW,
) -> Image:
    data = bundle if isinstance(bundle, bytes) else json.dumps(dict(bundle)).encode()
    return check_metadata(trust, data, target, at.timestamp()).image


def why(*args: object, **named: object) -> str:
    with pytest.raises(RefusedError) as refused:
        check(*args, **named)  # type: ignore[arg-type]
    return refused.value.reason


def parts(repository: Repository) -> dict[str, str]:
    bundle: dict[str, str] = json.loads(repository.bundle())
    return bundle


def test_what_is_published_is_taken(repository: Repository) -> None:
    trusted = check_metadata(
        {"root": repository.root}, repository.bundle(), TARGET, NOW.timestamp()
    )
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert trusted.image == Image(TARGET, len(CONTENT), sha256, "1.1.0", 2)
    assert set(trusted.trust) == {"root", "timestamp", "snapshot", "targets"}
    again = check_metadata(trusted.trust, repository.bundle(), TARGET, NOW.timestamp())
    assert again == trusted


def test_the_stock_client_takes_the_same_repository(repository: Repository, tmp_path: Path) -> None:
    served = dict(repository.objects())
    (tmp_path / "targets").mkdir()
    updater = Updater(
        str(tmp_path),
        "https://repository/metadata/",
        str(tmp_path / "targets"),
        "https://repository/targets/",
        Files(served),
        bootstrap=repository.root,
    )
    info = updater.get_targetinfo(TARGET)
    assert info is not None
    assert Path(updater.download_target(info)).read_bytes() == CONTENT
    ours = check(repository.bundle(), {"root": repository.root})
    assert (ours.length, ours.sha256) == (info.length, info.hashes["sha256"])


def test_tampered_metadata_is_refused(repository: Repository) -> None:
    bundle = parts(repository)
    bundle["timestamp.json"] = bundle["timestamp.json"].replace('"version":3', '"version":4')
    assert bundle != parts(repository)
    assert why(bundle, {"root": repository.root}) == "signature"
    bundle = parts(repository)
    name = "3.targets.json"
    bundle[name] = bundle[name].replace("1.1.0", "9.1.0")
    assert bundle[name] != parts(repository)[name]
    assert why(bundle, {"root": repository.root}) == "mix and match"


def test_a_wrong_key_is_refused(repository: Repository) -> None:
    other = Repository.create(NOW)
    other.publish(TARGET, "1.1.0", b"evil", NOW)
    assert why(other.bundle(), {"root": repository.root}) == "signature"


def test_a_freeze_is_found_out_once_the_metadata_has_expired(repository: Repository) -> None:
    trusted = {"root": repository.root}
    late = NOW + LIFE["timestamp"] + dt.timedelta(seconds=1)
    assert check(repository.bundle(), trusted, at=NOW + LIFE["timestamp"] / 2)
    assert why(repository.bundle(), trusted, at=late) == "freeze"
    known = check_metadata(trusted, repository.bundle(), TARGET, NOW.timestamp()).trust
    assert why(repository.bundle(), known, at=late) == "freeze"


def test_metadata_that_is_older_than_what_is_known_is_a_rollback(repository: Repository) -> None:
    old = repository.bundle()
    repository.publish("m/1.2.0-r3.img", "1.2.0", b"newest", NOW)
    trust = check_metadata(
        {"root": repository.root}, repository.bundle(), TARGET, NOW.timestamp()
    ).trust
    assert why(old, trust) == "rollback"
    assert check(old, {"root": repository.root})  # without what it remembers it would succeed


def test_parts_of_different_times_do_not_fit(repository: Repository) -> None:
    old = parts(repository)
    repository.publish("m/1.2.0-r3.img", "1.2.0", b"newest", NOW)
    new = parts(repository)
    mixed = {**new, "4.targets.json": old["3.targets.json"]}
    assert why(mixed, {"root": repository.root}) == "mix and match"
    missing = {name: text for name, text in new.items() if name != "4.snapshot.json"}
    assert (
        why({**missing, **old, "timestamp.json": new["timestamp.json"]}, {"root": repository.root})
        == "mix and match"
    )


def test_what_is_no_metadata_and_what_is_not_in_it_is_refused(repository: Repository) -> None:
    trust = {"root": repository.root}
    assert why(b"<html>", trust) == "metadata"
    assert why({**parts(repository), "timestamp.json": "{}"}, trust) == "metadata"
    assert why(repository.bundle(), trust, "m/other.img") == "unknown target"


def test_a_new_key_of_any_role_is_followed_from_the_old_root(repository: Repository) -> None:
    first = {"root": repository.root}
    for role in ("timestamp", "root", "targets"):
        repository.rotate(role, NOW)
    assert check(repository.bundle(), first)
    bundle = parts(repository)
    del bundle["3.root.json"]
    assert why(bundle, first) == "signature"


def test_keys_are_for_their_owner_alone_and_the_repository_goes_on_after_opening(
    tmp_path: Path,
) -> None:
    made = Repository.open(tmp_path, NOW)
    made.publish("m/1.0.0-r1.img", "1.0.0", b"old", NOW)
    made.save(tmp_path)
    for key in (tmp_path / "keys").iterdir():
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    again = Repository.open(tmp_path, NOW)
    trust = check_metadata(
        {"root": made.root}, made.bundle(), "m/1.0.0-r1.img", NOW.timestamp()
    ).trust
    assert again.publish(TARGET, "1.1.0", CONTENT, NOW) == 2
    assert check(again.bundle(), trust).release == 2
    with pytest.raises(FirmwareError, match="published already"):
        again.publish(TARGET, "1.1.0", CONTENT, NOW)
    (tmp_path / "keys" / "root.pem").write_text("x")
    with pytest.raises(FirmwareError, match=r"root\.pem: cannot be read"):
        Repository.open(tmp_path, NOW)
