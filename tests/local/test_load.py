"""The load tests: locust itself, two workers, exit codes; against the local AWS; and in a run."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from test_run import environment, fleet_sim, summary_of

from fleet_sim.cloud import registry
from fleet_sim.cloud.deploy import StackOutputs
from fleet_sim.cloud.target import Target
from fleet_sim.engine.load.plan import KINDS, Hot, Place, Plan, Spell, place_of
from fleet_sim.engine.load.result import read
from fleet_sim.engine.load.run import _free_port
from fleet_sim.engine.load.talk import Order, VehiclesProcess
from fleet_sim.resources import data_dir
from fleet_sim.scenario import loads
from fleet_sim.world import build_cities
from fleet_sim.world.towns import registry as registry_of
from fleet_sim.world.towns import street_network

CITY = (
    "name: c\ncity: {generate: {blocks: [3, 3]}}\nfleet: [{group: a, count: 1}]\n"
    "phases: [{name: p, duration: 1s}]\n"
)
SCENARIO = """
name: with-load
seed: 3
city: {generate: {blocks: [3, 3]}}
fleet: [{group: cars, count: 4}]
phases: [{name: calm, duration: 2s}, {name: surge, duration: 6s}]
load:
  {users: 2, spawn_rate: 20, phases: {surge: 5}, workers: 2,
   mix: {drivers: 1, dashboards: 3, probes: 2}}
thresholds: {load_ms: ["max<1"], load_failed: ["value<0.5"]}
"""


@pytest.fixture(scope="module")
def plan(deployed: tuple[Target, StackOutputs], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    target, outputs = deployed
    cities = build_cities(loads(CITY))
    stalls = registry_of(cities)
    registry.upload(target, outputs, stalls, street_network(cities, stalls.city))
    return Plan(
        place=place_of(target, outputs),
        run="0load-20260601T000000Z-aaaa",
        identities=str(tmp_path_factory.mktemp("identities")),
        spells=(Spell("a", 0.0, 120.0, 12),),
        spawn_rate=50.0,
        mix=dict.fromkeys(KINDS, 0) | {"operators": 6, "probes": 1, "vehicles": 1},
        vehicles=3,
        thresholds={"load_failed": ("value==0",)},
    )


LEAVING = """
import gevent
from _users import ApiUser
from locust import constant, task

class Leaving(ApiUser):
    wait_time = constant(1)

    @task
    def ask(self):
        self.get("/hangs", "hangs")

    def on_stop(self):
        gevent.sleep(1.0)
        self.get("/bye", "bye")
"""


class Stub:
    """An API that has one street and one stall, remembers what it was asked, and does not answer
    `/hangs`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ended = threading.Event()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                stub.asked.append(self.path)
                if self.path == "/hangs":
                    stub.ended.wait(60)
                body = json.dumps(
                    {
                        "features": [{"geometry": {"coordinates": [[-122.0, 37.0]]}}],
                        "spots": [{"id": "s1"}],
                        "next": None,
                    }
                ).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def plan(self, **fields: object) -> Plan:
        url = f"http://127.0.0.1:{self.server.server_port}"
        target = Target("us-east-1", "1", "s", "127.0.0.1", 1, None, url)
        place = Place(target, url, url, "")
        return Plan(place=place, run="0load-x", identities="", **fields)  # type: ignore[arg-type]


@pytest.fixture
def stub() -> Iterator[Stub]:
    made = Stub()
    yield made
    made.ended.set()
    made.server.shutdown()
    made.server.server_close()


def locust_command(plan: Plan, folder: Path, *more: str) -> list[str]:
    file = folder / "plan.json"
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(plan, out=str(folder))))
    command = [sys.executable, "-m", "locust", "-f", str(data_dir("loadtests")), "--headless"]
    return [*command, "--plan", str(file), *more]


def test_two_workers_count_what_locust_counts_and_know_the_phase(
    stub: Stub, tmp_path: Path
) -> None:
    hot = Hot(38.0, -122.0, share=1.0, spread_m=0.0)
    plan = stub.plan(
        spells=(Spell("calm", 0.0, 2.0, 4), Spell("surge", 2.0, 4.0, 24, (hot,))),
        spawn_rate=50.0,
        mix={kind: int(kind == "drivers") for kind in KINDS},
        thresholds={"load_failed": ("value==0",), "load_ms{name:near_spots}": ("max<0.001",)},
    )
    port = str(_free_port())
    ports = ("--master-bind-port", port, "--master-port", port)
    done = subprocess.run(
        locust_command(
            plan, tmp_path, "--only-summary", "--json-file", "own", "--processes", "2", *ports
        ),
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 99, done.stderr
    assert "held   load_failed: value==0" in done.stdout
    assert "BROKEN load_ms{name:near_spots}: max<0.001: max is " in done.stdout
    result = read(tmp_path)
    assert result is not None
    assert (result.report.workers, result.report.users_max) == (2, 24)
    assert not result.report.problem
    (own,) = tmp_path.glob("own*")
    theirs = {row["name"]: row["num_requests"] for row in json.loads(own.read_text())}
    ours = {name: of.count for name, of in result.report.requests.items()}
    assert ours == theirs
    assert ours["streets"] == 2  # once a process
    near = [path for path in stub.asked if path.startswith("/spots?")]
    assert len(near) >= 24
    # Half of the 20 users who come with the surge are the second worker's.
    assert sum("lat=38.0" in path for path in near) >= 16
    assert (tmp_path / "load_near_spots.hgrm").exists()


@pytest.mark.parametrize("interrupted", [False, True], ids=["at its end", "by Ctrl-C"])
def test_what_is_cut_off_and_what_comes_last_is_counted(
    stub: Stub, tmp_path: Path, interrupted: bool
) -> None:
    (tmp_path / "leaving.py").write_text(LEAVING)
    plan = stub.plan(
        spells=(Spell("calm", 0.0, 60.0 if interrupted else 2.0, 4),),
        spawn_rate=50.0,
        thresholds={"load_cut{name:hangs}": ("count==4",), "load_ms{name:hangs}": ("max<1",)},
    )
    port = str(_free_port())
    ports = ("--master-bind-port", port, "--master-port", port)
    command = locust_command(plan, tmp_path, "--only-summary", "--processes", "2", *ports)
    command[command.index("-f") + 1] = str(tmp_path / "leaving.py")
    path = {"PYTHONPATH": f"{data_dir('loadtests')}:{environment()['PYTHONPATH']}"}
    # Whoever was started in the background by a shell ignores Ctrl-C, and so do its children.
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment() | path, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, ignored)
    try:
        if interrupted:
            deadline = time.monotonic() + 60
            while stub.asked.count("/hangs") < 4:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: master and workers
        out, _ = process.communicate(timeout=120)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 99, out
    assert "held   load_cut{name:hangs}: count==4: count is 4" in out
    assert "BROKEN load_ms{name:hangs}: max<1: this run measured no such metric" in out
    result = read(tmp_path)
    assert result is not None
    assert not result.report.problem
    # Said by users who were told to end, later than Locust's master waits for its workers.
    assert result.report.requests["bye"].count == 4
    assert result.report.requests["hangs"].count == 0


def test_those_who_publish_and_operators_against_the_stack(plan: Plan, tmp_path: Path) -> None:
    command = locust_command(plan, tmp_path)
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment(), stdout=out, stderr=subprocess.STDOUT
        )
    try:  # its own table, every 2 s
        deadline = time.monotonic() + 100
        while not all(name in log.read_text() for name in (" visible ", " campaign_create ")):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    result = read(tmp_path)
    assert result is not None
    found = result.report.requests
    assert {"mqtt_connect", "mqtt_publish", "visible"} <= set(found)
    # None is left behind, though their users were ended on the way.
    assert found["campaign_abort"].count == found["campaign_create"].count >= 1


def test_a_vehicles_process_answers_each_request(plan: Plan) -> None:
    order = Order(run=plan.run, vehicles=2, process=7, identities=plan.identities, place=plan.place)
    vehicles = VehiclesProcess(order)
    try:
        with ThreadPoolExecutor(2) as pool:  # as two users do
            online = list(pool.map(lambda i: vehicles.ask("connect", i), (0, 1)))
            told = list(pool.map(lambda i: vehicles.ask("publish", i, 37.8, -122.2), (0, 1)))
        assert [answer.error for answer in (*online, *told)] == [""] * 4
        assert online[0].vin == told[0].vin != told[1].vin
        assert vehicles.ask("publish", 0).seq == 2
        assert vehicles.ask("publish", 9).error == "no vehicle 9"
    finally:
        vehicles.close()
    assert "ended" in vehicles.ask("publish", 0).error


def test_without_a_stack_it_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "locust", "-f", str(data_dir("loadtests")), "--headless"]
    done = subprocess.run(
        [*command, "-t", "5s"], cwd=tmp_path, env=environment(), capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "error: no local AWS is running here (start it with: fleet-sim up)" in done.stderr


def test_a_run_has_its_users_and_judges_them(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SCENARIO)
    done = subprocess.run(
        fleet_sim("run", "s.yaml", "--out", "r"), cwd=tmp_path, env=environment(),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 99, done.stdout + done.stderr
    summary = summary_of(tmp_path / "r")
    (broken,) = summary.run.reasons
    assert broken.startswith("load_ms: max<1: max is ")
    assert summary.load is not None
    assert (summary.load.users_max, summary.load.problem) == (5, "")
    # On the run's own axis: users come with its phases, and go with the last.
    log = [json.loads(line) for line in (tmp_path / "r" / "log.jsonl").read_text().splitlines()]
    assert [line["users"] for line in log if line["event"] == "load"] == [[2, 5]]
    assert -1.0 <= summary.load.start_s <= 4.0
    assert summary.load.workers == 2
    assert summary.load.end_s <= 8 + 4
    assert 'id="load-chart"' in (tmp_path / "r" / "index.html").read_text()
