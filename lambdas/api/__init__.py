"""The HTTP API over the vehicle and spot tables. `handler` does the I/O, `logic` is pure."""
