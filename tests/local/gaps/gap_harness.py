"""What the tests of the gaps share.

A test marked `against_stock` runs against ours and against stock MiniStack, where it is expected to
fail. When upstream closes a gap, its strict xfail turns red, and the gap's module can be deleted.
"""

from __future__ import annotations

import asyncio
import io
import ssl
import time
import uuid
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiomqtt
import boto3
import pytest

from fleet_sim.cloud.local import Endpoints

T = TypeVar("T")
ROLE = "arn:aws:iam::000000000000:role/test"


class GapAws:
    """A running local AWS with the helpers that the tests share."""

    def __init__(self, endpoints: Endpoints, folder: Path, patience_s: float) -> None:
        self.endpoints = endpoints
        self.patience_s = patience_s
        """How long to wait for what should happen: short against stock, where it does not."""
        self._folder = folder
        self._clients: dict[str, Any] = {}
        self._certificate: tuple[str, Path, Path] | None = None

    def client(self, service: str) -> Any:
        """Made once: reading an API's description takes longer than most calls."""
        if service not in self._clients:
            self._clients[service] = boto3.client(
                service,
                endpoint_url=self.endpoints.gateway_url,
                region_name=self.endpoints.region,
                aws_access_key_id="test",
                aws_secret_access_key="test",
            )
        return self._clients[service]

    def wait_for(self, look: Callable[[], T | None]) -> T:
        """The first thing `look` returns that is not None; AssertionError after `patience_s`."""
        until = time.monotonic() + self.patience_s
        while time.monotonic() < until:
            found = look()
            if found is not None:
                return found
            time.sleep(0.02)
        raise AssertionError("it did not happen")

    def new_certificate(self) -> tuple[str, Path, Path]:
        """(certificate id, certificate file, key file) of a new ACTIVE certificate."""
        made = self.client("iot").create_keys_and_certificate(setAsActive=True)
        certificate = self._folder / f"{made['certificateId']}.pem"
        key = self._folder / f"{made['certificateId']}.key"
        certificate.write_text(made["certificatePem"])
        key.write_text(made["keyPair"]["PrivateKey"])
        return made["certificateId"], certificate, key

    def use(self, certificate: tuple[str, Path, Path]) -> None:
        """Lets the clients made from now on present this certificate."""
        self._certificate = certificate

    def tls(self, certificate: tuple[str, Path, Path] | None = None) -> ssl.SSLContext:
        """A client's TLS context; with a certificate shared by the tests unless given one."""
        if certificate is None:
            if self._certificate is None:
                self._certificate = self.new_certificate()
            certificate = self._certificate
        context = ssl.create_default_context(cafile=self.endpoints.ca_file)
        context.load_cert_chain(certificate[1], certificate[2])
        return context

    @asynccontextmanager
    async def mqtt(self, **options: Any) -> AsyncIterator[aiomqtt.Client]:
        options.setdefault("identifier", unique("client"))
        async with aiomqtt.Client(
            self.endpoints.mqtt_host,
            self.endpoints.mqtt_port,
            tls_context=self.tls(),
            timeout=self.patience_s,
            **options,
        ) as client:
            yield client

    async def received(self, client: aiomqtt.Client, count: int = 1) -> list[aiomqtt.Message]:
        """The next `count` messages; TimeoutError after `patience_s`."""
        async with asyncio.timeout(self.patience_s):
            return [await anext(client.messages) for _ in range(count)]

    def stream(self, shards: int = 1) -> str:
        name = unique("stream")
        self.client("kinesis").create_stream(StreamName=name, ShardCount=shards)
        return name

    def records(self, stream: str) -> list[dict[str, Any]]:
        """Every record of the stream, shard after shard."""
        kinesis = self.client("kinesis")
        found: list[dict[str, Any]] = []
        for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
            iterator = kinesis.get_shard_iterator(
                StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            found += kinesis.get_records(ShardIterator=iterator)["Records"]
        return found

    def queue(self) -> str:
        """URL of a new queue."""
        return str(self.client("sqs").create_queue(QueueName=unique("queue"))["QueueUrl"])

    def messages(self, queue: str) -> list[str]:
        """Takes what is in the queue."""
        answer = self.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
        return [message["Body"] for message in answer.get("Messages", [])]

    def function(self, source: str, **options: Any) -> str:
        """Name of a new Python function with this `handler` module."""
        name = unique("function")
        self.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.12",
            Handler="code_under_test.handler",
            Role=ROLE,
            Code={"ZipFile": archive(source)},
            **options,
        )
        return name


def unique(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:8]}"


def archive(source: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        zipped.writestr("code_under_test.py", source)
    return buffer.getvalue()


against_stock = pytest.mark.parametrize(
    "aws",
    [
        pytest.param("gap_aws", id="ours"),
        pytest.param("stock_aws", id="stock", marks=pytest.mark.xfail(strict=True)),
    ],
    indirect=True,
)
