"""Each contestant of the benchmark as a process against a real broker, small, and the command."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet_sim.engine.bench.engine.contest import CONTESTANTS, ContestError, Setting, _run
from fleet_sim.engine.embedded import EmbeddedBroker


@pytest.fixture(scope="module")
def setting() -> Iterator[Setting]:
    broker = EmbeddedBroker(100)
    broker.start()
    yield Setting(broker.host, broker.port, "rumqttd", duration_s=1.0, payload_bytes=100)
    broker.stop()


@pytest.mark.parametrize("who", CONTESTANTS, ids=lambda who: who.name)
def test_a_contestant_holds_a_small_rate(
    who: object, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    contestant = next(each for each in CONTESTANTS if each is who)
    if importlib.util.find_spec(contestant.module) is None:
        pytest.skip(f"{contestant.module} is not installed")
    monkeypatch.setattr("fleet_sim.engine.bench.engine.contest.WARMUP_S", 1.1)
    for _ in range(8):  # until the machine lets it, and the broker, have the second
        found = _run(setting, contestant, 50)
        assert found is not None
        if found.lateness_p99_ms < 500 and found.acknowledged >= 25:
            break
    assert found.connected == 50
    assert 25 <= found.acknowledged <= 75  # of 50 that are due in a second
    assert found.cpu_s > 0
    assert found.connected_kb > found.base_kb > 0
    if contestant.name != "ours":
        assert found.payload_bytes == 100


def test_an_error_of_ours_is_no_result() -> None:
    with pytest.raises(ContestError, match="floor: "):
        _run(Setting("127.0.0.1", 1, "nobody"), CONTESTANTS[2], 50)


def test_the_command_prints_one_document_and_writes_its_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fleet_sim", "bench", "engine", "--only", "floor"]
    command += ["--only", "ours-fixed", "--vehicles", "50", "--duration", "1s", "--rounds", "1"]
    command += ["--broker", "embedded", "--json", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [each["name"] for each in document["measured"]] == ["ours-fixed", "floor"]
    assert document["broker"] == "rumqttd (embedded)"
    assert json.loads((tmp_path / "engine.json").read_text()) == document
    assert (tmp_path / "engine.png").exists()
