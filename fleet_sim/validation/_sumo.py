"""Eclipse SUMO as an independent judge of how a queue discharges: the `sumo` extra (half a GB).

Its own implementation of IDM, with our parameters, on one lane with a signal, run as a process.
"""

import importlib.util
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from fleet_sim.models.arrays import FloatArray
from fleet_sim.models.motion import IDM, Idm

MISSING = "Eclipse SUMO is not installed: pip install 'fleet-sim[sumo]'"
_RED_S = 300.0
_TIMEOUT_S = 120.0

_NODES = """<nodes>
<node id="a" x="0" y="0"/><node id="b" x="1000" y="0" type="traffic_light"/>
<node id="c" x="3000" y="0"/><node id="s" x="1000" y="-200"/>
</nodes>"""
_EDGES = """<edges>
<edge id="in" from="a" to="b" numLanes="1" speed="{limit}"/>
<edge id="out" from="b" to="c" numLanes="1" speed="{limit}"/>
<edge id="side" from="s" to="b" numLanes="1" speed="{limit}"/>
</edges>"""
_CONNECTIONS = """<connections><connection from="in" to="out" fromLane="0" toLane="0"/>
<connection from="side" to="out" fromLane="0" toLane="0"/></connections>"""
_ROUTES = """<routes>
<vType id="car" carFollowModel="IDM" length="{length}" accel="{idm.accel_mps2}"
 decel="{idm.brake_mps2}" tau="{idm.headway_s}" minGap="{idm.standstill_m}" delta="4"
 emergencyDecel="{idm.hardest_mps2}" maxSpeed="{limit}" speedFactor="1" speedDev="0" sigma="0"/>
<route id="r" edges="in out"/>
<flow id="f" type="car" route="r" begin="0" period="4" number="{n}" departSpeed="max"/>
</routes>"""


def available() -> bool:
    """Whether the package is installed."""
    return importlib.util.find_spec("sumo") is not None


@lru_cache
def discharge(limit_mps: float, n: int = 30, length_m: float = 5.0, idm: Idm = IDM) -> FloatArray:
    """When each of a queue of `n` passes the stop line after green, s [n], without jerk limits.

    `RuntimeError` when SUMO is not installed or does not do it.
    """
    spec = importlib.util.find_spec("sumo")
    if spec is None or spec.origin is None:
        raise RuntimeError(MISSING)
    bin_ = Path(spec.origin).parent / "bin"
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "n.xml").write_text(_NODES)
        (here / "e.xml").write_text(_EDGES.format(limit=limit_mps))
        (here / "c.xml").write_text(_CONNECTIONS)
        (here / "r.xml").write_text(_ROUTES.format(limit=limit_mps, length=length_m, idm=idm, n=n))
        _run(
            [bin_ / "netconvert", "-n", "n.xml", "-e", "e.xml", "-x", "c.xml", "-o", "net.xml"],
            here,
        )
        _signal(here / "net.xml")
        _run(
            [
                bin_ / "sumo", "-n", "net.xml", "-r", "r.xml", "--step-length", "0.1",
                "--end", str(_RED_S + 10.0 * n), "--vehroute-output", "out.xml",
                "--vehroute-output.exit-times", "--vehroute-output.write-unfinished",
                "--no-step-log", "--time-to-teleport", "-1", "--tls.all-off", "false",
            ],
            here,
        )  # fmt: skip
        times = [
            float(str(route.get("exitTimes")).split()[0])
            for route in ElementTree.parse(here / "out.xml").getroot().iter("route")
        ]
    if len(times) != n or min(times) < _RED_S:
        raise RuntimeError(f"SUMO let {len(times)} of {n} vehicles pass, the first at {times[:1]}")
    return np.sort(np.array(times)) - _RED_S


def _signal(net: Path) -> None:
    """Red until all queue, then green for good."""
    tree = ElementTree.parse(net)
    logic = next(tree.getroot().iter("tlLogic"))
    for phase in list(logic):
        logic.remove(phase)
    root = tree.getroot()
    main = next(
        int(str(c.get("linkIndex")))
        for c in root.iter("connection")
        if c.get("from") == "in" and c.get("tl") is not None
    )
    links = 1 + max(int(str(c.get("linkIndex"))) for c in root.iter("connection") if c.get("tl"))
    go = "".join("G" if i == main else "r" for i in range(links))
    ElementTree.SubElement(logic, "phase", duration=str(_RED_S), state="r" * links)
    ElementTree.SubElement(logic, "phase", duration="100000", state=go)
    logic.set("offset", "0")
    tree.write(net)


def _run(command: list[str | Path], here: Path) -> None:
    done = subprocess.run(
        command, cwd=here, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name}: {done.stderr.strip()[-500:]}")
