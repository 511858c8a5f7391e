"""Lambda event source mappings that read Kinesis streams.

AWS: each shard is read on its own, by up to ParallelizationFactor invocations at a time that keep
the order of every partition key. A batch is up to BatchSize records (100 unless said otherwise) or
6 MB, gathered for MaximumBatchingWindowInSeconds. A failed batch is retried, whole or split in two
(BisectBatchOnFunctionError), or from the lowest sequence number the function reported
(ReportBatchItemFailures), until MaximumRetryAttempts or MaximumRecordAgeInSeconds; then an
invocation record without the payload goes to DestinationConfig.OnFailure and the shard goes on.
A throttled invocation uses up no retry. AWS documents one condition in the invocation record,
RetryAttemptsExhausted; records given up for their age carry it too.

Stock MiniStack: one thread polls every mapping in turn, invokes synchronously, and retries a
failed batch for ever; batch-item failures, bisecting, limits, destinations, windows,
parallelisation and AT_TIMESTAMP are ignored, and BatchSize is 10.

Closed by: a reader for each shard of each mapping, woken by the append itself. MiniStack keeps the
mappings' records and invokes the functions.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from fleet_sim.cloud.local.gaps import _seam
from fleet_sim.cloud.local.gaps._mapping import (
    DEFAULTS,
    Mapping,
    enabled,
    reads_kinesis,
    settings,
)
from fleet_sim.cloud.local.gaps._stream_reader import ShardReader

_RECONCILE_S = 0.5
_MAX_CONCURRENT = 256
log = logging.getLogger("fleet_sim.local.lambda")


class Manager:
    """Keeps a reader for each shard of each enabled mapping; remembers where stopped ones were."""

    def __init__(self) -> None:
        self._lambda = _seam.service("lambda_svc")
        self._kinesis = _seam.service("kinesis")
        self._pool = ThreadPoolExecutor(_MAX_CONCURRENT, thread_name_prefix="stream-invoke")
        self._mappings: dict[str, Mapping] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._positions: dict[tuple[str, str, int], int] = {}
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    def anchor(self, mapping_id: str, stream_arn: str) -> None:
        """A mapping that starts at LATEST starts here, not at the next reconciliation."""
        stream = self._stream(stream_arn)
        for shard_id, shard in (stream or {"shards": {}})["shards"].items():
            records = shard["records"]
            self._positions[mapping_id, shard_id, id(records)] = len(records)

    def forget(self, mapping_id: str) -> None:
        for key in [key for key in self._positions if key[0] == mapping_id]:
            del self._positions[key]

    def wake(self) -> None:
        """Reconciles soon; from any thread."""
        loop: asyncio.AbstractEventLoop | None = _seam.application()._MAIN_LOOP
        if loop is not None:
            loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        self._changed.set()

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            try:
                self._reconcile()
            except Exception:
                log.exception("event source mappings could not be reconciled")
            try:
                async with asyncio.timeout(_RECONCILE_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _reconcile(self) -> None:
        wanted = {
            key[2]: (key[:2], stored)
            for key, stored in list(self._lambda._esms._data.items())
            if reads_kinesis(stored) and enabled(stored)
        }
        for mapping_id, mapping in list(self._mappings.items()):
            known = wanted.get(mapping_id)
            same = known is not None and known[1] is mapping.stored
            if not same or mapping.lanes != settings(mapping.stored).lanes:
                del self._mappings[mapping_id]
                self._ending[mapping_id] = asyncio.create_task(self._end(mapping_id, mapping))
        for mapping_id, (scope, stored) in wanted.items():
            if mapping_id in self._ending:
                continue  # an invocation is in hand; it goes on from where that one leaves off
            if mapping_id not in self._mappings:
                self._mappings[mapping_id] = Mapping(scope, stored, self._pool)
            self._follow_shards(mapping_id, self._mappings[mapping_id])

    async def _end(self, mapping_id: str, mapping: Mapping) -> None:
        for reader in mapping.readers.values():
            reader.stop()
        for shard_id, reader in mapping.readers.items():
            await reader.task
            self._positions[mapping_id, shard_id, reader.log_id] = reader.processed
        del self._ending[mapping_id]
        self._changed.set()

    def _follow_shards(self, mapping_id: str, mapping: Mapping) -> None:
        stream = self._stream(str(mapping.stored["EventSourceArn"]))
        shards = stream["shards"] if stream is not None else {}
        for shard_id, reader in list(mapping.readers.items()):
            shard = shards.get(shard_id)
            if shard is None or id(shard["records"]) != reader.log_id:
                reader.stop()
                del mapping.readers[shard_id]
        first = not mapping.readers
        for shard_id, shard in shards.items():
            if shard_id not in mapping.readers:
                records = shard["records"]
                position = self._positions.get((mapping_id, shard_id, id(records)))
                if position is None:
                    # A shard that appears later is the child of one that was read.
                    position = self._start_position(mapping.stored, records) if first else 0
                mapping.readers[shard_id] = ShardReader(
                    shard_id, records, position, mapping.target()
                )

    def _start_position(self, stored: dict[str, Any], records: Any) -> int:
        kind = stored.get("StartingPosition", "LATEST")
        since = stored.get("StartingPositionTimestamp")
        position: int = self._kinesis._start_position(records, kind, "", since)
        return position

    def _stream(self, arn: str) -> dict[str, Any] | None:
        # arn:aws:kinesis:REGION:ACCOUNT:stream/NAME, or .../consumer/NAME:TIME after it
        _, _, _, region, account_id, resource = arn.split(":")[:6]
        name = resource.split("/")[1]
        stream: dict[str, Any] | None = self._kinesis._streams.get_scoped(account_id, region, name)
        return stream


def apply() -> None:
    service = _seam.service("lambda_svc")
    kinesis = _seam.service("kinesis")
    _seam.expect(
        service, "_apply_filter_criteria", "_esms", "_execute_function",
        "_get_func_record_for_qualifier", "_poll_kinesis", "_release_esm_poll_state",
    )  # fmt: skip
    _seam.expect_parameters(service._create_esm, "data")
    _seam.expect_parameters(service._update_esm, "esm_id", "data")
    _seam.expect_parameters(service._init_stream_position, "esm_id", "source_arn", "starting")
    _seam.expect(kinesis, "_start_position", "_streams")
    _seam.expect(_seam.application(), "_MAIN_LOOP")
    _seam.expect(_seam.service("sqs"), "_act_send_message", "_queue_url")
    _seam.expect(_seam.service("sns"), "publish_internal")
    manager = Manager()
    stock_create, stock_update = service._create_esm, service._update_esm
    stock_anchor, stock_release = service._init_stream_position, service._release_esm_poll_state
    stock_ensure = service._ensure_poller

    def create(data: dict[str, Any]) -> Any:
        if not reads_kinesis(data):
            return stock_create(data)
        problem = _problem(data)
        if problem:
            return service.error_response_json("InvalidParameterValueException", problem, 400)
        response = stock_create({"BatchSize": 100, **data})
        if response[0] == 202:
            answer = msgspec.json.decode(response[2])
            stored = service._esms[answer["UUID"]]
            for name, value in {**DEFAULTS, "DestinationConfig": {"OnFailure": {}}}.items():
                stored.setdefault(name, data.get(name, value))
            if "StartingPositionTimestamp" in data:
                stored["StartingPositionTimestamp"] = data["StartingPositionTimestamp"]
            response = service.json_response(service._esm_response(stored), 202)
        return response

    def update(mapping_id: str, data: dict[str, Any]) -> Any:
        problem = _problem(data)
        if problem:
            return service.error_response_json("InvalidParameterValueException", problem, 400)
        response = stock_update(mapping_id, data)
        manager.wake()
        return response

    def anchor(mapping_id: str, source_arn: str, starting: str) -> None:
        if starting == "LATEST" and reads_kinesis({"EventSourceArn": source_arn}):
            manager.anchor(mapping_id, source_arn)
        stock_anchor(mapping_id, source_arn, starting)

    def release(mapping_id: str) -> None:
        stock_release(mapping_id)
        manager.forget(mapping_id)
        manager.wake()

    def ensure() -> None:
        # The stock poller still serves SQS and DynamoDB streams.
        stock_ensure()
        manager.wake()

    service._create_esm, service._update_esm = create, update
    service._init_stream_position, service._release_esm_poll_state = anchor, release
    service._ensure_poller = ensure
    service._poll_kinesis = lambda: False


def _problem(data: dict[str, Any]) -> str | None:
    """Why AWS refuses these settings, or None."""
    age = data.get("MaximumRecordAgeInSeconds")
    if age is not None and age != -1 and not 60 <= age <= 604_800:
        return "MaximumRecordAgeInSeconds must be -1, or between 60 and 604800."
    limits = (("MaximumRetryAttempts", -1, 10_000), ("ParallelizationFactor", 1, 10),
              ("BatchSize", 1, 10_000), ("MaximumBatchingWindowInSeconds", 0, 300))  # fmt: skip
    for name, low, high in limits:
        value = data.get(name)
        if value is not None and not low <= value <= high:
            return f"{name} must be between {low} and {high}."
    return None
