"""Brokers for the conformance suite, all behind one interface; each on a free port of 127.0.0.1."""

import contextlib
import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import boto3
import mosquitto

from fleet_sim.cloud.local import LocalAws
from fleet_sim.engine.embedded import EmbeddedBroker
from fleet_sim.transport import Certificate, Tls


class Place(Protocol):
    """A running broker."""

    host: str
    port: int
    tls: Tls | None

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Mosquitto(mosquitto.Mosquitto):
    tls: Tls | None = None


class Rumqttd(EmbeddedBroker):
    tls: Tls | None = None


class LocalAwsPlace:
    """The MQTT side of a local AWS: mutual TLS, one certificate for all vehicles."""

    def __init__(self, folder: Path) -> None:
        self._aws = LocalAws(folder / "state")
        endpoints = self._aws.start()
        self.host = endpoints.mqtt_host
        self.port = endpoints.mqtt_port
        iot = boto3.client(
            "iot",
            endpoint_url=endpoints.gateway_url,
            region_name=endpoints.region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        made = iot.create_keys_and_certificate(setAsActive=True)
        files = Certificate(str(folder / "v.pem"), str(folder / "v.key"))
        Path(files.cert_file).write_text(made["certificatePem"])
        Path(files.key_file).write_text(made["keyPair"]["PrivateKey"])
        self.tls: Tls | None = Tls(ca_file=endpoints.ca_file, certificates=[files] * 10)

    def start(self) -> None:
        """It runs from the beginning."""

    def stop(self) -> None:
        self._aws.stop()


MISSING = {
    "mosquitto": None if mosquitto.MOSQUITTO else "mosquitto is not installed",
    "rumqttd": None if importlib.util.find_spec("iotcore") else "iotcore is not installed",
    "local-aws": None,
}
"""Why a broker cannot be had here, or None."""


@contextlib.contextmanager
def running(name: str, options: str = "", tls: Tls | None = None) -> Iterator[Place]:
    """A broker of this name. `options` are more lines of mosquitto's configuration."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        place: Place
        if name == "mosquitto":
            place = Mosquitto(folder, options)
            place.tls = tls
        elif name == "rumqttd":
            place = Rumqttd(20)
        else:
            place = LocalAwsPlace(folder)
        place.start()
        try:
            yield place
        finally:
            place.stop()
