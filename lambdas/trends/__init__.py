"""Occupancy of streets by hour of week, from the archive. `handler` is called, `archive` and
`table` do the I/O, `looks` and `hours` are pure."""
