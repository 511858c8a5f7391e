"""Ledgers, histograms, audit, accuracy and thresholds: compares records that are handed to it.

Nothing here reads a clock, a file or a socket, and nothing is shared with what is audited.
"""
