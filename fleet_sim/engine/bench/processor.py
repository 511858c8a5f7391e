"""What the telemetry processor costs without its services: `fleet-sim bench processor`.

The deployed pipeline takes records of a simulated city in batches; S3, SQS and DynamoDB are
dictionaries. What AWS's client library spends on requests is not in it.
"""

import gzip
import io
import time
from typing import Any, NamedTuple

import msgspec
import numpy as np

from fleet_sim.contract.registry import REGISTRY_KEY
from fleet_sim.engine.bench.parking import Case, Cloud, records, scenario_of
from fleet_sim.world import World

VEHICLES = 250
SECONDS = 60
BATCH = 500


class Processor(msgspec.Struct, frozen=True):
    """CPU time of this process, µs a record; the median of the batches."""

    records: int
    batch: int
    sonar: float
    """Share of records with 20 samples."""
    spots_a_record: float
    whole_us: float
    """Everything from stream record to the requests."""
    archive_us: float
    decode_us: float
    rest_us: float
    """Vehicles, tracks, matching, beliefs, and the requests that write them."""


class _S3:
    def __init__(self, registry: bytes) -> None:
        self._registry = registry

    def put_object(self, **_: Any) -> None:
        pass

    def get_object(self, **request: Any) -> dict[str, Any]:
        assert request["Key"] == REGISTRY_KEY
        return {"Body": io.BytesIO(self._registry), "ETag": "1"}


class _DynamoDb:
    """Items by table and key; takes every write, as nobody else writes."""

    def __init__(self) -> None:
        self._items: dict[tuple[str, str], dict[str, Any]] = {}

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        ((table, asked),) = request["RequestItems"].items()
        keys = (next(iter(key.values()))["S"] for key in asked["Keys"])
        found = (self._items.get((table, key)) for key in keys)
        return {"Responses": {table: [item for item in found if item is not None]}}

    def transact_write_items(self, **_: Any) -> None:
        """The counts: nobody reads them here."""

    def batch_execute_statement(self, **request: Any) -> dict[str, Any]:
        for statement in request["Statements"]:
            text, values = statement["Statement"], statement["Parameters"]
            table = text.split('"', 2)[1]
            if text.startswith("INSERT"):
                names = text.split("'")[1::2]
                item = dict(zip(names, values, strict=True))
                self._items[table, values[0]["S"]] = item
            else:
                names = [part.split('"')[1] for part in text.split("SET ")[1:]]
                self._items[table, values[-2]["S"]].update(zip(names, values, strict=False))
        return {"Responses": [{} for _ in request["Statements"]]}


class Prepared(NamedTuple):
    """What the processor is given."""

    cloud: Cloud
    incoming: list[Any]
    sonar: int
    """Records with 20 samples."""
    registry: bytes


def prepare(seconds: int = SECONDS, vehicles: int = VEHICLES) -> Prepared:
    """Twice `seconds` of telemetry at 1 Hz: the first half warms up."""
    cloud = Cloud.load()
    scenario = scenario_of(Case(), vehicles)
    world = World(scenario)
    incoming: list[Any] = []
    sonar = 0
    for second in records(scenario, world, 1, 2 * seconds):
        for record in second:
            sonar += record.sonar is not None
            number = str(len(incoming) + 1)
            data = msgspec.json.encode(record)
            incoming.append(cloud.logic.Incoming("shard", number, float(record.ts), data))
    registry = gzip.compress(msgspec.json.encode(world.city.to_registry()))
    return Prepared(cloud, incoming, sonar, registry)


def pipeline_of(prepared: Prepared) -> Any:
    """The deployed pipeline on services that are dictionaries."""
    return prepared.cloud.pipeline.Pipeline(
        s3=_S3(prepared.registry),
        dynamodb=_DynamoDb(),
        sqs=None,
        bucket="b",
        vehicles_table="vehicles",
        spots_table="spots",
        queue_url="",
        now_ms=lambda: 0.0,
        counters_table="counters",
    )


def bench_processor(seconds: int = SECONDS, vehicles: int = VEHICLES) -> Processor:
    """Measure the processor on `seconds` of telemetry at 1 Hz, after as many to warm up."""
    prepared = prepare(seconds, vehicles)
    cloud, incoming, sonar, _ = prepared
    pipeline = pipeline_of(prepared)
    whole, archive, decode = [], [], []
    spots = 0
    for start in range(0, len(incoming), BATCH):
        batch = incoming[start : start + BATCH]
        began = time.process_time()
        outcome = pipeline.process(batch)
        processed = time.process_time()
        cloud.logic.archive_body(batch, 0.0)
        archived = time.process_time()
        for item in batch:
            cloud.logic.decode(item)
        decoded = time.process_time()
        if outcome.failed or outcome.refused:
            raise RuntimeError(f"the processor refused its own records: {outcome}")
        if start >= len(incoming) // 2:
            spots += outcome.spots
            scale = 1e6 / len(batch)
            whole.append((processed - began) * scale)
            archive.append((archived - processed) * scale)
            decode.append((decoded - archived) * scale)
    whole_us, archive_us, decode_us = (float(np.median(part)) for part in (whole, archive, decode))
    return Processor(
        records=len(incoming) // 2,
        batch=BATCH,
        sonar=sonar / len(incoming),
        spots_a_record=spots / (len(incoming) / 2),
        whole_us=whole_us,
        archive_us=archive_us,
        decode_us=decode_us,
        rest_us=whole_us - archive_us - decode_us,
    )
