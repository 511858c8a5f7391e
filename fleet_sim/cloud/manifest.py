"""Identities of vehicles at a broker that is no cloud: a folder with a manifest and PEM files.

Made once, used by every run, and grown when a run has more vehicles. A folder whose certificates
come from elsewhere has no key of an authority: it is used as it is.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from fleet_sim.cloud.authority import (
    CA_CERTIFICATE,
    Authority,
    AuthorityError,
    belongs,
    common_name,
    read_certificate,
    read_key,
    write_private,
)
from fleet_sim.cloud.identities import IdentityError
from fleet_sim.contract.telemetry import Vin

MANIFEST = "manifest.json"
_SAVE_EVERY = 1_000
"""Identities between two writes of the manifest: what a killed process makes again at most."""
_RENEW_BEFORE = dt.timedelta(days=1)
"""A certificate of ours that ends sooner is made anew: a run may be long."""

OnProgress = Callable[[int, int], None]


class BrokerIdentity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one vehicle connects with: PEM files, relative to the manifest; one may hold both."""

    vin: Vin
    cert_file: str
    key_file: str


class BrokerManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `manifest.json` holds. Paths, never keys."""

    target: str
    """As the command line says it, for people."""
    ca_file: str | None
    """Who vouches for the broker, relative to the manifest; null: the system's trust store."""
    identities: tuple[BrokerIdentity, ...]


class Provisioned(NamedTuple):
    """Identities of the vehicles that were asked for, in their order, with absolute paths."""

    ca_file: str | None
    identities: list[BrokerIdentity]
    made: int
    """New ones among them, or made again because they had expired or were gone."""


def load(folder: Path) -> BrokerManifest | None:
    """The folder's manifest, or None when it has none. `IdentityError` names the file."""
    file = folder / MANIFEST
    try:
        return msgspec.json.decode(file.read_bytes(), type=BrokerManifest)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IdentityError(f"{file}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise IdentityError(f"{file}: not a manifest of identities: {error}") from error


def provision(
    folder: Path,
    target: str,
    vins: Sequence[str],
    *,
    ca_file: str | None = CA_CERTIFICATE,
    on_progress: OnProgress = lambda *_: None,
) -> Provisioned:
    """Give each of `vins` an identity; those that are there and good are kept.

    `ca_file` says who vouches for the broker when the manifest is new: our own authority, a file,
    or None for the system's trust store. Raises `IdentityError`.
    """
    try:
        return _provision(folder.resolve(), target, vins, ca_file, on_progress)
    except (AuthorityError, OSError) as error:
        raise IdentityError(str(error)) from error


def _provision(
    folder: Path, target: str, vins: Sequence[str], ca_file: str | None, on_progress: OnProgress
) -> Provisioned:
    manifest = load(folder)
    authority = None
    if manifest is None or Authority.exists(folder):
        authority = Authority.open(folder)
    if manifest is None:
        manifest = BrokerManifest(target, ca_file, ())
    held = {identity.vin: identity for identity in manifest.identities}
    wanted = list(dict.fromkeys(vins))
    good = {vin for vin in wanted if vin in held and _good(folder, held[vin], authority)}
    missing = [vin for vin in wanted if vin not in good]
    if missing and authority is None:
        raise IdentityError(
            f"{folder / MANIFEST}: has no valid identity of {missing[0]} and {len(missing) - 1} "
            "others, and no key of an authority is there to make them (allowed: add them, or run "
            "fewer vehicles)"
        )

    def save() -> None:
        _save(folder, msgspec.structs.replace(manifest, identities=tuple(held.values())))

    try:
        for n, vin in enumerate(missing):
            assert authority is not None
            file = f"{vin}.pem"
            write_private(folder / file, authority.vehicle(vin))
            held[vin] = BrokerIdentity(vin, file, file)
            if (n + 1) % _SAVE_EVERY == 0:
                save()
                on_progress(len(good) + n + 1, len(wanted))
    finally:
        if missing:
            save()
    on_progress(len(wanted), len(wanted))
    return Provisioned(
        ca_file=None if manifest.ca_file is None else str(folder / manifest.ca_file),
        identities=list(_absolute(folder, (held[vin] for vin in vins))),
        made=len(missing),
    )


def _good(folder: Path, identity: BrokerIdentity, authority: Authority | None) -> bool:
    """Whether a vehicle can connect with it now. False when it may be made again without loss: it
    is gone or has expired. `IdentityError` when it is not what it should be."""
    certificate_file, key_file = folder / identity.cert_file, folder / identity.key_file
    if not certificate_file.exists() or not key_file.exists():
        return False
    certificate = read_certificate(certificate_file)
    if not belongs(certificate, read_key(key_file)):
        raise IdentityError(f"{key_file}: is not the key of the certificate in {certificate_file}")
    if authority is not None:
        if not authority.signed(certificate):
            raise IdentityError(
                f"{certificate_file}: is not signed by {folder / CA_CERTIFICATE} (allowed: remove "
                "it, and it is made again)"
            )
        if (name := common_name(certificate)) != identity.vin:
            raise IdentityError(f"{certificate_file}: is of {name}, and not of {identity.vin}")
    left = certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)
    return left > (_RENEW_BEFORE if authority is not None else dt.timedelta(0))


def _absolute(folder: Path, identities: Iterable[BrokerIdentity]) -> Iterable[BrokerIdentity]:
    for identity in identities:
        yield BrokerIdentity(
            identity.vin, str(folder / identity.cert_file), str(folder / identity.key_file)
        )


def _save(folder: Path, manifest: BrokerManifest) -> None:
    part = folder / f".{MANIFEST}.part"
    part.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    os.replace(part, folder / MANIFEST)
