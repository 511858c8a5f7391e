"""A certificate authority of our own, for brokers that trust whom we tell them to.

P-256 keys, as AWS IoT takes them; keys are written for their owner alone (mode 0600).
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_CERTIFICATE = "ca.pem"
CA_KEY = "ca.key.pem"
_CA_DAYS = 3_650
_LEAF_DAYS = 825
"""Longest that common platforms accept of a server (Apple's limit, 2019)."""
_EARLIER = dt.timedelta(hours=1)
"""Valid from a little before now: the broker's clock may be behind."""


class AuthorityError(RuntimeError):
    """The authority's files are damaged or not its own; the message names the file."""


class Authority:
    """Signs certificates of vehicles and brokers. Its two files are in one folder."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self._key = key
        self._key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())

    @classmethod
    def exists(cls, folder: Path) -> bool:
        """Whether there is one that can sign."""
        return (folder / CA_KEY).exists()

    @classmethod
    def open(cls, folder: Path) -> Authority:
        """The authority of the folder, made when there is none. `AuthorityError`."""
        certificate_file, key_file = folder / CA_CERTIFICATE, folder / CA_KEY
        if not key_file.exists():
            if certificate_file.exists():
                raise AuthorityError(
                    f"{certificate_file}: its key {CA_KEY} is not there (allowed: both, or none "
                    "to make a new authority)"
                )
            return cls._create(folder)
        certificate = read_certificate(certificate_file)
        key = read_key(key_file)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not belongs(certificate, key):
            raise AuthorityError(f"{key_file}: is not the key of {certificate_file}")
        if certificate.not_valid_after_utc <= dt.datetime.now(dt.UTC):
            raise AuthorityError(
                f"{certificate_file}: expired on {certificate.not_valid_after_utc:%Y-%m-%d} "
                "(allowed: remove the folder and provision again)"
            )
        return cls(certificate, key)

    @classmethod
    def _create(cls, folder: Path) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fleet-sim vehicles")])
        builder = _builder(name, name, key.public_key(), _CA_DAYS).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        builder = builder.add_extension(_signs_certificates(), critical=True)
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
        certificate = builder.sign(key, hashes.SHA256())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CA_CERTIFICATE).write_bytes(_pem(certificate))
        write_private(folder / CA_KEY, _key_pem(key))
        return cls(certificate, key)

    def vehicle(self, vin: str) -> bytes:
        """PEM of a new certificate whose common name is the VIN, then of its key."""
        return self._issue(vin, ExtendedKeyUsageOID.CLIENT_AUTH, None)

    def broker(self, host: str) -> bytes:
        """PEM of a new certificate of a broker at `host`, a name or an address, then of its key.
        One on this machine is good for `localhost` and 127.0.0.1 alike."""
        names: list[x509.GeneralName] = [_general_name(host)]
        if host in ("localhost", "127.0.0.1", "::1"):
            names = [_general_name(name) for name in ("localhost", "127.0.0.1", "::1")]
        return self._issue(
            host[:64], ExtendedKeyUsageOID.SERVER_AUTH, x509.SubjectAlternativeName(names)
        )

    def signed(self, certificate: x509.Certificate) -> bool:
        """Whether a certificate is this authority's."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def _issue(
        self,
        name: str,
        usage: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName | None,
    ) -> bytes:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        public = key.public_key()
        builder = _builder(subject, self.certificate.subject, public, _LEAF_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        # Strict verification, Python 3.13's default, asks for the authority's (RFC 5280, 4.2.1.1).
        builder = builder.add_extension(self._key_id, critical=False)
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return _pem(builder.sign(self._key, hashes.SHA256())) + _key_pem(key)


def read_certificate(file: Path) -> x509.Certificate:
    """The first certificate of a PEM file. `AuthorityError` names the file."""
    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except OSError as error:
        raise AuthorityError(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise AuthorityError(f"{file}: no PEM certificate: {error}") from error


def read_key(file: Path) -> PrivateKeyTypes:
    """The private key of a PEM file. `AuthorityError` names the file."""
    try:
        return serialization.load_pem_private_key(file.read_bytes(), None)
    except OSError as error:
        raise AuthorityError(f"{file}: {error.strerror}") from error
    except (ValueError, TypeError) as error:  # TypeError: it is encrypted
        raise AuthorityError(f"{file}: no PEM key without a password: {error}") from error


def belongs(certificate: x509.Certificate, key: PrivateKeyTypes) -> bool:
    """Whether a key is the certificate's."""
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return certificate.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)


def common_name(certificate: x509.Certificate) -> str:
    """Empty when it has none."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def write_private(file: Path, data: bytes) -> None:
    """Write a file that its owner alone can read, in place of one that is there."""
    file.unlink(missing_ok=True)  # the mode below applies to new files only
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(data)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _signs_certificates() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
