"""Locust beside a run or alone: its plan, its processes, what its users share, its result."""
