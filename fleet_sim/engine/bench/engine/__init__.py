"""`fleet-sim bench engine`: what a message costs this engine, a bare loop, and other clients.

Each contestant drives the same load against the same broker in a process of its own, in rounds that
take turns; `contest.py` runs them, `child.py` is the process, `page.py` shows what came out.
"""
