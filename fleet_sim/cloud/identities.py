"""Vehicle identities: a key made here, a certificate the cloud signs, a thing, and the policy.

Keys never leave this machine: the cloud sees a certificate request. Each vehicle's steps end with
the policy, so a certificate that holds the policy is complete, and one listing of the policy's
certificates tells which identities of a manifest can be reused.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fleet_sim.cloud.authority import AuthorityError, belongs, read_certificate, read_key
from fleet_sim.cloud.target import Target
from fleet_sim.contract.telemetry import Vin

MANIFEST = "manifest.json"
_SAVE_EVERY = 100
"""Identities between two writes of the manifest: what a killed process makes again at most."""
_THREADS = 8

_T = TypeVar("_T")

OnProgress = Callable[[int, int], None]
"""`on_progress(done, total)`, from the caller's thread."""


class IdentityError(RuntimeError):
    """An identity could not be made or removed; the message names the vehicle."""


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one vehicle connects with. The VIN is its thing name and client id too."""

    vin: Vin
    certificate_arn: str
    cert_file: str
    """PEM; relative to the manifest in its file, absolute in memory."""
    key_file: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Identities of one deployment. The file holds paths, never keys."""

    account_id: str
    region: str
    policy: str
    mqtt_host: str
    mqtt_port: int
    ca_file: str | None
    identities: tuple[Identity, ...]

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read `folder/manifest.json`. `IdentityError` names the file when it is no manifest."""
        file = folder / MANIFEST
        try:
            manifest = msgspec.json.decode(file.read_bytes(), type=cls)
        except OSError as error:
            raise IdentityError(f"{file}: {error.strerror}") from error
        except msgspec.MsgspecError as error:
            raise IdentityError(f"{file}: not a manifest of identities: {error}") from error
        return msgspec.structs.replace(
            manifest, identities=tuple(_resolve(folder, item) for item in manifest.identities)
        )


def provision(
    target: Target,
    vins: Sequence[str],
    folder: Path,
    *,
    policy_name: str,
    on_progress: OnProgress = lambda *_: None,
) -> Manifest:
    """Give each vehicle an identity, and answer those of `vins` in their order.

    Identities that `folder` holds and the target still knows are reused. What was made before an
    error or an interruption is kept in the manifest. Raises `IdentityError`.
    """
    for vin in vins:
        _check_vin(vin)
    folder.mkdir(parents=True, exist_ok=True)
    done = _reusable(target, folder, policy_name)
    missing = [vin for vin in dict.fromkeys(vins) if vin not in done]
    total = len(set(vins))
    on_progress(total - len(missing), total)

    def save() -> None:
        held = (done[vin] for vin in sorted(done))
        _save(folder, _manifest(target, policy_name, held))

    try:
        for finished, identity in enumerate(_provision_all(target, missing, folder, policy_name)):
            done[identity.vin] = identity
            if (finished + 1) % _SAVE_EVERY == 0:
                save()
            on_progress(total - len(missing) + finished + 1, total)
    finally:
        save()
    return _manifest(target, policy_name, (done[vin] for vin in vins))


def remove_all(
    target: Target, *, policy_name: str, on_progress: OnProgress = lambda *_: None
) -> int:
    """Remove every certificate that holds the policy, and its things; answers how many.

    The policy itself stays: it is the stack's.
    """
    arns = list(_certificates(target, policy_name))
    if not arns:
        return 0
    for count, _ in enumerate(_parallel(lambda arn: _remove(target, policy_name, arn), arns)):
        on_progress(count + 1, len(arns))
    return len(arns)


def _provision_all(
    target: Target, vins: Sequence[str], folder: Path, policy_name: str
) -> Iterator[Identity]:
    def one(vin: str) -> Identity:
        try:
            return _provision_one(target, vin, folder, policy_name)
        except (ClientError, BotoCoreError, OSError) as error:
            raise IdentityError(f"vehicle {vin}: {error}") from error

    return _parallel(one, vins)


def _parallel(work: Callable[[str], _T], items: Sequence[str]) -> Iterator[_T]:
    """Results as they come, from a few threads; the first error stops what has not begun."""
    stop = threading.Event()

    def unless_stopped(item: str) -> _T | None:
        return None if stop.is_set() else work(item)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="identities") as pool:
        futures = [pool.submit(unless_stopped, item) for item in items]
        try:
            for future in as_completed(futures):
                result = future.result()
                assert result is not None
                yield result
        finally:
            stop.set()


def _provision_one(target: Target, vin: str, folder: Path, policy_name: str) -> Identity:
    iot = target.client("iot")
    key = ec.generate_private_key(ec.SECP256R1())
    identity = Identity(
        vin=vin,
        certificate_arn="",
        cert_file=str(folder / f"{vin}.cert.pem"),
        key_file=str(folder / f"{vin}.key.pem"),
    )
    _write_private(Path(identity.key_file), key)
    made = iot.create_certificate_from_csr(
        certificateSigningRequest=_certificate_request(vin, key), setAsActive=True
    )
    Path(identity.cert_file).write_text(made["certificatePem"])
    # One that exists has the attributes of another deployment; the name is what counts.
    with contextlib.suppress(iot.exceptions.ResourceAlreadyExistsException):
        iot.create_thing(thingName=vin, attributePayload={"attributes": {"fleet": target.stack}})
    iot.attach_thing_principal(thingName=vin, principal=made["certificateArn"])
    iot.attach_policy(policyName=policy_name, target=made["certificateArn"])
    return msgspec.structs.replace(identity, certificate_arn=made["certificateArn"])


def _certificate_request(vin: str, key: ec.EllipticCurvePrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, vin)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def _write_private(file: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.unlink(missing_ok=True)  # the mode below applies to new files only
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(pem)


def _remove(target: Target, policy_name: str, arn: str) -> str:
    iot = target.client("iot")
    certificate_id = arn.rpartition("/")[2]
    try:
        for thing in iot.list_principal_things(principal=arn)["things"]:
            iot.detach_thing_principal(thingName=thing, principal=arn)
            iot.delete_thing(thingName=thing)
        iot.update_certificate(certificateId=certificate_id, newStatus="INACTIVE")
        iot.detach_policy(policyName=policy_name, target=arn)
        iot.delete_certificate(certificateId=certificate_id, forceDelete=True)
    except iot.exceptions.ResourceNotFoundException:
        pass  # removed by another; what is left is found again by the policy
    except (ClientError, BotoCoreError) as error:
        raise IdentityError(f"certificate {certificate_id}: {error}") from error
    return arn


def _certificates(target: Target, policy_name: str) -> Iterator[str]:
    """ARNs of all certificates that hold the policy."""
    iot = target.client("iot")
    marker = ""
    while True:
        page = iot.list_targets_for_policy(
            policyName=policy_name, pageSize=250, **({"marker": marker} if marker else {})
        )
        yield from (arn for arn in page.get("targets", ()) if ":cert/" in arn)
        marker = page.get("nextMarker", "")
        if not marker:
            return


def _reusable(target: Target, folder: Path, policy_name: str) -> dict[str, Identity]:
    """Identities of the folder's manifest that the target knows and whose files are there."""
    if not (folder / MANIFEST).exists():
        return {}
    manifest = Manifest.load(folder)
    known = set(_certificates(target, policy_name))
    return {
        identity.vin: identity
        for identity in manifest.identities
        if identity.certificate_arn in known and _usable(identity)
    }


def _usable(identity: Identity) -> bool:
    """Whether its files are there, belong together, and are good for today and tomorrow; else it is
    made again."""
    certificate_file, key_file = Path(identity.cert_file), Path(identity.key_file)
    if not certificate_file.exists() or not key_file.exists():
        return False
    try:
        certificate = read_certificate(certificate_file)
        left = certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)
        return belongs(certificate, read_key(key_file)) and left > dt.timedelta(days=1)
    except AuthorityError as error:
        raise IdentityError(f"{error} (allowed: remove it, and it is made again)") from error


def _manifest(target: Target, policy_name: str, identities: Iterable[Identity]) -> Manifest:
    return Manifest(
        account_id=target.account_id,
        region=target.region,
        policy=policy_name,
        mqtt_host=target.mqtt_host,
        mqtt_port=target.mqtt_port,
        ca_file=target.ca_file,
        identities=tuple(identities),
    )


def _save(folder: Path, manifest: Manifest) -> None:
    relative = [
        msgspec.structs.replace(
            item, cert_file=Path(item.cert_file).name, key_file=Path(item.key_file).name
        )
        for item in manifest.identities
    ]
    content = msgspec.json.encode(msgspec.structs.replace(manifest, identities=tuple(relative)))
    part = folder / f".{MANIFEST}.part"
    part.write_bytes(msgspec.json.format(content))
    os.replace(part, folder / MANIFEST)


def _resolve(folder: Path, item: Identity) -> Identity:
    return msgspec.structs.replace(
        item, cert_file=str(folder / item.cert_file), key_file=str(folder / item.key_file)
    )


def _check_vin(vin: str) -> None:
    try:
        msgspec.convert(vin, Vin)
    except msgspec.ValidationError as error:
        raise IdentityError(
            f"vehicle {vin!r}: not a VIN (allowed: 17 characters, no I, O, Q): {error}"
        ) from error
