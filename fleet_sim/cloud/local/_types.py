"""What the rest of the project may know about the local AWS: where it listens."""

from __future__ import annotations

import msgspec


class LocalAwsError(RuntimeError):
    """The local AWS did not start, or died; the message ends with its log's last lines."""


class Endpoints(msgspec.Struct, frozen=True):
    """Where a running local AWS is reached. Everything is on loopback."""

    gateway_url: str
    """Base URL of every AWS API (`endpoint_url` of an SDK client), e.g. http://127.0.0.1:40123."""
    mqtt_host: str
    mqtt_port: int
    """MQTT over TLS; a client certificate that the IoT CA issued is required."""
    ca_file: str
    """Path of a PEM file that verifies the MQTT listener's certificate."""
    region: str
    account_id: str
    pid: int
    """The local AWS's process, which is also the leader of its process group."""
