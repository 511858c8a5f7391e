"""What the processor sends to the failure queue about a record that it refuses."""

import msgspec


class RefusedRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A poison record: it is archived, reported, and then done with."""

    reason: str
    shard: str
    sequence: str
    """Kinesis sequence number."""
    arrival_ms: float
    size: int
    """Bytes of the record."""
    record: str
    """Its first bytes, base64: as much as a queue message holds."""
