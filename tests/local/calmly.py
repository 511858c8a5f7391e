"""`fleet-sim` as a process whose machine is not judged: `python calmly.py run …`.

How late the load generator may be, before the figures of a run are its own, is for tests of its own
(tests/sim/test_engine_conclude.py, test_shards.py). All others are of what becomes of messages, and
that holds on a machine which is busy with something else for some seconds, too.
"""

from fleet_sim.cli import main
from fleet_sim.engine import drain, judge, run, shard

_NEVER_S = 3_600.0

judge.OVERLOADED_P99_NS = round(_NEVER_S * 1e9)
shard.SKIP_S = shard.OVERLOADED_S = shard.GIVE_UP_S = _NEVER_S
drain.ACK_DRAIN_S = drain.CLOUD_STALLED_S = 90.0
drain.CLOUD_DRAIN_S = 240.0
run.PROBE_SETTLE_S = 30.0

if __name__ == "__main__":
    main()
