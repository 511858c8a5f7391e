"""The campaign service. `logic`, `records` and `planning` are pure; the handlers do the I/O."""
