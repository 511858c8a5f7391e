"""Lambda event source mappings that read SQS queues: how much a batch holds.

AWS: a batch of a standard queue is up to BatchSize messages (10,000 at most), gathered for
MaximumBatchingWindowInSeconds, which must be at least 1 for more than 10.

Stock MiniStack: takes at most 10 at a time, and ignores the window: a function that asked to be
called twice a minute is called for every message.

Closed by: taking as many as the mapping says, and not before the window of the oldest waiting
message has passed or the batch is full.
"""

from __future__ import annotations

import time
from typing import Any

from fleet_sim.cloud.local.gaps import _seam

MAX_STANDARD = 10_000
MAX_FIFO = 10


def apply() -> None:
    service, sqs = _seam.service("lambda_svc"), _seam.service("sqs")
    _seam.expect(sqs, "_queues_lock", "_get_q", "_expire_retained", "_dlq_sweep", "_collect_msgs")
    _seam.expect_parameters(sqs._receive_messages_for_esm, "queue_url", "max_number")
    _seam.expect_parameters(sqs._collect_msgs, "q", "max_n", "vis_timeout")
    _seam.expect_parameters(service._sqs_esm_concurrency, "esm", "func_rec", "config", "queue")
    stock_concurrency = service._sqs_esm_concurrency

    def concurrency(
        mapping: dict[str, Any], function: Any, config: Any, queue: dict[str, Any] | None = None
    ) -> int:
        # Asked right before messages are taken; none may be in flight while a batch gathers.
        if queue is not None and not _due(mapping, queue, time.time()):
            return 0
        allowed: int = stock_concurrency(mapping, function, config, queue)
        return allowed

    def receive(queue_url: str, max_number: int) -> Any:
        with sqs._queues_lock:
            queue = sqs._get_q(queue_url)
            most = MAX_FIFO if queue.get("is_fifo") else MAX_STANDARD
            visibility_s = int(queue["attributes"].get("VisibilityTimeout", "30"))
            sqs._expire_retained(queue)
            sqs._dlq_sweep(queue)
            return sqs._collect_msgs(queue, min(int(max_number or 1), most), visibility_s)

    service._sqs_esm_concurrency, sqs._receive_messages_for_esm = concurrency, receive


def _due(mapping: dict[str, Any], queue: dict[str, Any], now: float) -> bool:
    window_s = float(mapping.get("MaximumBatchingWindowInSeconds") or 0)
    if not window_s:
        return True
    waiting = [
        max(message["sent_at"], message.get("visible_at") or 0.0)
        for message in list(queue["messages"])
        if (message.get("visible_at") or 0.0) <= now
    ]
    full = len(waiting) >= int(mapping.get("BatchSize", 10))
    return bool(waiting) and (full or now - min(waiting) >= window_s)
