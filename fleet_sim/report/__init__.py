"""Reads a finished run folder and renders it: an HTML file that opens offline, a terminal table."""
