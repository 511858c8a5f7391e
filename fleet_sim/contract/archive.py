"""The raw archive: gzip JSON lines in S3, one object a batch."""

import msgspec


class ArchivedRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One line of the archive: a stream record as it came, and when it passed which stage.

    Objects are named `telemetry/dt=YYYY-MM-DD/hour=HH/{shard}-{first}-{last}.jsonl.gz` by UTC
    arrival time and stream sequence numbers, so that a retry of the same batch overwrites its
    object. A retry of part of a batch may repeat lines under another name: `(shard, sequence)`
    names a line, and a reader counts each once.
    """

    shard: str
    sequence: str
    """Kinesis sequence number: a decimal number, compared as such."""
    arrival_ms: float
    """Kinesis `approximateArrivalTimestamp`, ms since the epoch."""
    processed_ms: float
    """When the processor took up the batch, ms since the epoch."""
    record: msgspec.Raw
    """The rule's JSON as it came, on one line (a `RuleRecord` if it was valid).

    What was not JSON is a string: its bytes in base64.
    """
