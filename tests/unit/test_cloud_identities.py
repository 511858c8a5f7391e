"""Provisioning: resumed after an interruption, reused when known, and clear about whose failed."""

import datetime as dt
import threading
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fleet_sim.cloud import authority, identities
from fleet_sim.cloud.identities import IdentityError, Manifest
from fleet_sim.cloud.target import Target

VINS = [f"1FSMZ91C0T000000{i}" for i in range(1, 7)]


CA_KEY = ec.generate_private_key(ec.SECP256R1())


def signed(request: x509.CertificateSigningRequest, days: int) -> str:
    """What IoT makes of a request, in PEM."""
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "IoT")]))
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=days))
        .sign(CA_KEY, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


class FakeIot:
    """An IoT registry that remembers; `fails` names calls that fail for a vehicle, once."""

    class exceptions:  # noqa: N801 the name is boto3's
        class ResourceAlreadyExistsException(Exception):  # noqa: N818
            pass

        class ResourceNotFoundException(Exception):  # noqa: N818
            pass

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.certificates: dict[str, str] = {}
        self.things: set[str] = set()
        self.principals: dict[str, str] = {}
        self.attached: list[str] = []
        self.fails: dict[str, str] = {}
        self.days: dict[str, int] = {}
        """How long a vehicle's next certificate is good, if not a year."""

    def create_certificate_from_csr(
        self,
        certificateSigningRequest: str,  # noqa: N803
        setAsActive: bool,  # noqa: N803
    ) -> dict[str, str]:
        request = x509.load_pem_x509_csr(certificateSigningRequest.encode())
        assert request.is_signature_valid
        assert setAsActive
        (name,) = request.subject
        vin = str(name.value)
        with self.lock:
            arn = f"arn:aws:iot:eu-west-1:1:cert/{len(self.certificates)}"
            self.certificates[arn] = vin
            days = self.days.pop(vin, 365)
        return {"certificateArn": arn, "certificatePem": signed(request, days)}

    def create_thing(self, thingName: str, attributePayload: Any) -> None:  # noqa: N803
        with self.lock:
            if self.fails.pop(thingName, None):
                error = {"Error": {"Code": "ThrottlingException", "Message": "slow down"}}
                raise ClientError(error, "CreateThing")  # type: ignore[arg-type]
            if thingName in self.things:
                raise self.exceptions.ResourceAlreadyExistsException
            self.things.add(thingName)

    def attach_thing_principal(self, thingName: str, principal: str) -> None:  # noqa: N803
        assert self.certificates[principal] == thingName
        self.principals[principal] = thingName

    def attach_policy(self, policyName: str, target: str) -> None:  # noqa: N803
        assert target in self.principals, "the policy comes last: it says that all is done"
        self.attached.append(target)

    def list_targets_for_policy(self, marker: str = "", **_: Any) -> dict[str, Any]:
        start = int(marker or 0)
        page = {"targets": [*self.attached[start : start + 2], "thing group arn"]}
        return page | ({"nextMarker": str(start + 2)} if start + 2 < len(self.attached) else {})


@pytest.fixture
def iot(monkeypatch: pytest.MonkeyPatch) -> FakeIot:
    fake = FakeIot()
    monkeypatch.setattr(Target, "client", lambda *_: fake)
    return fake


TARGET = Target("eu-west-1", "1", "s", "broker", 8883, None)


def provision(folder: Path, vins: list[str]) -> Manifest:
    return identities.provision(TARGET, vins, folder, policy_name="p")


def test_each_vehicle_gets_its_own_key_and_certificate(iot: FakeIot, tmp_path: Path) -> None:
    manifest = provision(tmp_path, VINS)
    assert [identity.vin for identity in manifest.identities] == VINS
    assert iot.things == set(VINS)
    assert len(iot.attached) == len(VINS)
    keys = set()
    for identity in manifest.identities:
        certificate = authority.read_certificate(Path(identity.cert_file))
        assert authority.common_name(certificate) == identity.vin
        assert authority.belongs(certificate, authority.read_key(Path(identity.key_file)))
        key = Path(identity.key_file)
        assert key.stat().st_mode & 0o777 == 0o600
        keys.add(key.read_text())
    assert len(keys) == len(VINS)


def test_the_manifest_is_relative_and_holds_no_key(iot: FakeIot, tmp_path: Path) -> None:
    made = provision(tmp_path / "old", VINS[:2])
    text = (tmp_path / "old" / "manifest.json").read_text()
    assert "PRIVATE" not in text
    assert str(tmp_path) not in text
    (tmp_path / "old").rename(tmp_path / "new")
    moved = Manifest.load(tmp_path / "new")
    assert [i.certificate_arn for i in moved.identities] == [
        i.certificate_arn for i in made.identities
    ]
    assert all(Path(i.key_file).is_file() for i in moved.identities)


def test_known_identities_are_reused(iot: FakeIot, tmp_path: Path) -> None:
    first = provision(tmp_path, VINS)
    assert provision(tmp_path, VINS[:3]).identities == first.identities[:3]
    assert len(iot.certificates) == len(VINS)


@pytest.mark.parametrize("lost", ["certificate", "key file", "expired", "another's key"])
def test_lost_identities_are_made_anew(iot: FakeIot, tmp_path: Path, lost: str) -> None:
    if lost == "expired":
        iot.days[VINS[2]] = 0
    first = provision(tmp_path, VINS)
    key_file = Path(first.identities[2].key_file)
    if lost == "certificate":
        iot.attached.remove(first.identities[2].certificate_arn)
    elif lost == "key file":
        key_file.unlink()
    elif lost == "another's key":
        key_file.write_bytes(Path(first.identities[1].key_file).read_bytes())
    second = provision(tmp_path, VINS)
    changed = [a.vin for a, b in zip(first.identities, second.identities, strict=True) if a != b]
    assert changed == [VINS[2]]


def test_damage_is_named(iot: FakeIot, tmp_path: Path) -> None:
    first = provision(tmp_path, VINS[:2])
    Path(first.identities[1].cert_file).write_text("nonsense")
    with pytest.raises(IdentityError, match=f"{VINS[1]}.cert.pem: no PEM certificate"):
        provision(tmp_path, VINS[:2])


def test_an_error_names_the_vehicle_and_keeps_what_was_made(iot: FakeIot, tmp_path: Path) -> None:
    iot.fails = {VINS[4]: "create_thing"}
    with pytest.raises(IdentityError, match=f"vehicle {VINS[4]}: .*ThrottlingException"):
        provision(tmp_path, VINS)
    kept = {identity.vin for identity in Manifest.load(tmp_path).identities}
    assert VINS[4] not in kept
    before = len(iot.certificates)
    assert len(provision(tmp_path, VINS).identities) == len(VINS)
    assert len(iot.certificates) - before == len(VINS) - len(kept)


def test_an_interruption_keeps_what_was_made(iot: FakeIot, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        identities.provision(TARGET, VINS, tmp_path, policy_name="p", on_progress=interrupt)
    assert len(Manifest.load(tmp_path).identities) == 3


def test_a_vin_that_is_none_is_refused_before_anything_is_made(
    iot: FakeIot, tmp_path: Path
) -> None:
    with pytest.raises(IdentityError, match="'vehicle-1': not a VIN"):
        provision(tmp_path, [VINS[0], "vehicle-1"])
    assert not iot.certificates


@pytest.mark.parametrize(
    ("text", "says"), [("{", "not a manifest"), ('{"x": 1}', "not a manifest")]
)
def test_a_broken_manifest_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(IdentityError, match=f"manifest.json: {says}"):
        Manifest.load(tmp_path)
