"""IoT Core: signing a vehicle's certificate.

AWS: `CreateCertificateFromCsr` answers in milliseconds; a fleet is limited by its request rate.

Stock MiniStack: parses the CA's private key for every certificate. OpenSSL proves an RSA key's
primes each time it is loaded (about 80 ms of CPU), so registering 500 vehicles takes 40 s, during
which nothing else is served.

Closed by: loading each private key once.
"""

from __future__ import annotations

import functools
from typing import Any

from fleet_sim.cloud.local.gaps import _seam


class _KeysLoadedOnce:
    """The `serialization` module of `cryptography`, with a memory for private keys."""

    def __init__(self, stock: Any) -> None:
        self._stock = stock
        self.load_pem_private_key = functools.lru_cache(maxsize=8)(stock.load_pem_private_key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stock, name)


def apply() -> None:
    x509_utils = _seam.core("x509_utils")
    _seam.expect(x509_utils, "serialization", "sign_certificate_request", "_require_crypto")
    x509_utils._require_crypto()  # imports what it needs into its own names, on first use
    x509_utils.serialization = _KeysLoadedOnce(x509_utils.serialization)
