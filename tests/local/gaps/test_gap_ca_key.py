"""IoT Core: signing a vehicle's certificate."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from gap_harness import GapAws

from fleet_sim.cloud.local.gaps.ca_key import _KeysLoadedOnce


def request_for(name: str) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    request = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def test_certificates_for_requests_are_signed_by_the_ca_and_differ(gap_aws: GapAws) -> None:
    iot = gap_aws.client("iot")
    with open(gap_aws.endpoints.ca_file, "rb") as file:
        authority = x509.load_pem_x509_certificate(file.read())
    serials = set()
    for name in ("one", "two"):
        made = iot.create_certificate_from_csr(
            certificateSigningRequest=request_for(name), setAsActive=True
        )
        certificate = x509.load_pem_x509_certificate(made["certificatePem"].encode())
        certificate.verify_directly_issued_by(authority)
        assert certificate.subject.rfc4514_string() == f"CN={name}"
        serials.add(certificate.serial_number)
    assert len(serials) == 2


def test_a_key_is_parsed_once_and_another_key_is_another() -> None:
    class Counting:
        loads = 0

        def load_pem_private_key(self, pem: bytes, password: None) -> object:
            self.loads += 1
            return serialization.load_pem_private_key(pem, password)

    pems = [
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        for _ in range(2)
    ]
    stock = Counting()
    keys = _KeysLoadedOnce(stock)
    first = keys.load_pem_private_key(pems[0], password=None)
    assert keys.load_pem_private_key(pems[0], password=None) is first
    assert keys.load_pem_private_key(pems[1], password=None) is not first
    assert stock.loads == 2
