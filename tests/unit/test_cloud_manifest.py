"""Identities for brokers: made once, kept, grown, refused when they are not what they should."""

import datetime as dt
import json
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fleet_sim.cloud import authority as authorities
from fleet_sim.cloud.authority import Authority, common_name, read_certificate
from fleet_sim.cloud.identities import IdentityError
from fleet_sim.cloud.manifest import MANIFEST, load, provision
from fleet_sim.world.vin import vin

VINS = [vin(0, i) for i in range(3)]
TARGET = "mqtts://broker.test:8883"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_each_vehicle_gets_a_key_of_its_own(tmp_path: Path) -> None:
    made = provision(tmp_path, TARGET, VINS)
    assert made.made == 3
    assert [identity.vin for identity in made.identities] == VINS
    assert made.ca_file == str(tmp_path / "ca.pem")
    keys = set()
    for identity in made.identities:
        certificate = read_certificate(Path(identity.cert_file))
        assert common_name(certificate) == identity.vin
        assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
        keys.add(certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        ))  # fmt: skip
        context = ssl.create_default_context(cafile=made.ca_file)
        context.load_cert_chain(identity.cert_file, identity.key_file)
    assert len(keys) == 3
    for name in contents(tmp_path):
        mode = (tmp_path / name).stat().st_mode & 0o777
        private = name not in ("ca.pem", MANIFEST)
        assert not private or mode == 0o600, name
    assert b"PRIVATE" not in (tmp_path / MANIFEST).read_bytes()


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    provision(tmp_path, TARGET, VINS)
    before = contents(tmp_path)
    assert provision(tmp_path, TARGET, VINS[1:]).made == 0
    assert contents(tmp_path) == before


def test_it_grows(tmp_path: Path) -> None:
    provision(tmp_path, TARGET, VINS[:1])
    before = contents(tmp_path)
    again = provision(tmp_path, TARGET, VINS)
    assert again.made == 2
    assert contents(tmp_path)[f"{VINS[0]}.pem"] == before[f"{VINS[0]}.pem"]
    manifest = load(tmp_path)
    assert manifest is not None
    assert {identity.vin for identity in manifest.identities} == set(VINS)


def test_one_that_is_gone_or_expires_soon_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(authorities, "_LEAF_DAYS", 1)
        provision(tmp_path, TARGET, VINS[:1])
    provision(tmp_path, TARGET, VINS)
    (tmp_path / f"{VINS[1]}.pem").unlink()
    before = contents(tmp_path)
    assert provision(tmp_path, TARGET, VINS).made == 1
    assert VINS[1] in {name.removesuffix(".pem") for name in contents(tmp_path)}
    assert contents(tmp_path)[f"{VINS[2]}.pem"] == before[f"{VINS[2]}.pem"]


def test_what_was_made_before_an_error_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Authority.vehicle

    def breaks(self: Authority, name: str) -> bytes:
        if name == VINS[2]:
            raise OSError("disk full")
        return whole(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(Authority, "vehicle", breaks)
        with pytest.raises(IdentityError, match="disk full"):
            provision(tmp_path, TARGET, VINS)
    assert provision(tmp_path, TARGET, VINS).made == 1


def refusal(folder: Path) -> str:
    with pytest.raises(IdentityError) as caught:
        provision(folder, TARGET, VINS)
    return str(caught.value)


def test_damage_is_named(tmp_path: Path) -> None:
    provision(tmp_path, TARGET, VINS)
    first, second = (tmp_path / f"{vin}.pem" for vin in VINS[:2])
    good = first.read_bytes()
    first.write_bytes(second.read_bytes())
    assert refusal(tmp_path) == f"{first}: is of {VINS[1]}, and not of {VINS[0]}"
    certificate = good[: good.index(b"-----BEGIN PRIVATE")]
    key = second.read_bytes()[second.read_bytes().index(b"-----BEGIN PRIVATE") :]
    first.write_bytes(certificate + key)
    assert f"{first}: is not the key of the certificate in" in refusal(tmp_path)
    first.write_bytes(b"nonsense")
    assert f"{first}: no PEM certificate" in refusal(tmp_path)
    other = tmp_path / "other"
    provision(other, TARGET, VINS)
    first.write_bytes((other / first.name).read_bytes())
    assert f"{first}: is not signed by {tmp_path}/ca.pem" in refusal(tmp_path)
    first.write_bytes(good)
    assert provision(tmp_path, TARGET, VINS).made == 0
    (tmp_path / "ca.key.pem").write_bytes((other / "ca.key.pem").read_bytes())
    assert "ca.key.pem: is not the key of" in refusal(tmp_path)
    (tmp_path / MANIFEST).write_text("{}")
    assert f"{tmp_path / MANIFEST}: not a manifest of identities" in refusal(tmp_path)


def foreign(folder: Path, name: str, days: int) -> dict[str, str]:
    """An identity of somebody else's authority; expired when `days` is below 0."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whatever")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=9))
        .not_valid_after(now + dt.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return {"vin": name, "cert_file": f"{name}.crt", "key_file": f"{name}.key"}


def test_identities_from_elsewhere_are_used_and_never_made(tmp_path: Path) -> None:
    items = [foreign(tmp_path, VINS[0], 9), foreign(tmp_path, VINS[1], 9)]
    text = json.dumps({"target": TARGET, "ca_file": None, "identities": items})
    (tmp_path / MANIFEST).write_text(text)
    before = contents(tmp_path)
    made = provision(tmp_path, TARGET, VINS[:2])
    assert (made.made, made.ca_file) == (0, None)
    assert f"has no valid identity of {VINS[2]}" in refusal(tmp_path)
    foreign(tmp_path, VINS[0], -1)
    assert f"has no valid identity of {VINS[0]} and 1 others" in refusal(tmp_path)
    assert set(contents(tmp_path)) == set(before)


@pytest.mark.parametrize(
    ("host", "good", "bad"),
    [("127.0.0.1", "localhost", "broker.test"), ("broker.test", "broker.test", "localhost")],
)
def test_a_brokers_certificate_has_its_names(
    tmp_path: Path, host: str, good: str, bad: str
) -> None:
    signer = Authority.open(tmp_path)
    (tmp_path / "broker.pem").write_bytes(signer.broker(host))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(tmp_path / "broker.pem")
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # Python 3.13's default
    assert handshake(client, server, good)
    assert handshake(client, server, host)
    with pytest.raises(ssl.SSLCertVerificationError, match="ostname mismatch"):
        handshake(client, server, bad)


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> bool:
    """Two ends joined in memory."""
    here, there = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(here, there, server_hostname=name),
        server.wrap_bio(there, here, server_side=True),
    )
    done = [False, False]
    for _ in range(6):
        for n, end in enumerate(ends):
            if not done[n]:
                try:
                    end.do_handshake()
                    done[n] = True
                except ssl.SSLWantReadError:
                    pass
    return all(done)
