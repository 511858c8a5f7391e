"""Limits found before a run: each names the limit, the figure and the remedy, in one line."""

import email.utils
import http.client
import http.server
import itertools
import resource
import socket
import threading
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from fleet_sim.engine import preflight
from fleet_sim.engine.preflight import (
    PreflightError,
    available_mb,
    check_client,
    check_clock,
    check_cores,
    check_descriptors,
    check_memory,
    check_ports,
    check_target,
    ephemeral_ports,
    shard_count,
    source_addresses,
)
from fleet_sim.scenario import Scenario, loads
from fleet_sim.transport import ConnectError, LinkSettings


def scenario(count: int = 1_000, duration: str = "1h") -> Scenario:
    return loads(
        f"name: big\nfleet: [{{group: cars, count: {count}}}]\n"
        f"phases: [{{name: only, duration: {duration}}}]\n"
    )


def told(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_shards_are_a_number_or_one_a_core() -> None:
    assert shard_count("3", 100, 6) == 3
    assert shard_count("auto", 100, 6) == 6
    assert shard_count("auto", 4, 6) == 4
    for text in ("0", "many", "-1", "257", "1.5", ""):
        with pytest.raises(PreflightError, match=r"--shards: .* \(allowed: 1 to 256, or auto\)"):
            shard_count(text, 1_000, 6)
    with pytest.raises(PreflightError, match=r"9 processes for 8 vehicles \(allowed: at most 8\)"):
        shard_count("9", 8, 6)


def test_shards_that_would_wait_for_one_another_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preflight, "cores", lambda: 2)
    check_cores(4)
    with pytest.raises(PreflightError, match=r"5 processes on 2 cores .* at most 4; .* takes 2"):
        check_cores(5)
    # A process may have 20,000 files open: 100,000 vehicles need six.
    monkeypatch.setattr(preflight.resource, "getrlimit", lambda _: (20_000, 20_000))
    check_cores(6, vehicles=100_000)
    with pytest.raises(PreflightError, match="at most 6"):
        check_cores(7, vehicles=100_000)


def test_source_addresses_are_single_ones_and_ranges() -> None:
    assert source_addresses("") == ()
    assert source_addresses("127.0.0.2,127.0.0.3, 127.0.0.2") == ("127.0.0.2", "127.0.0.3")
    assert source_addresses("127.0.1.0/30") == ("127.0.1.1", "127.0.1.2")
    assert len(source_addresses("127.0.1.0/28")) == 14
    for text, why in (
        ("127.0.0.300", r"'127.0.0.300': .* \(allowed: 127.0.0.2 or 127.0.1.0/28\)"),
        ("127.0.0.0/8", r"16777216 addresses \(allowed: at most 4096\)"),
        ("192.0.2.7", r"192.0.2.7: .*assign.*ip address add 192.0.2.7"),
    ):
        with pytest.raises(PreflightError, match=why) as error:
            source_addresses(text)
        assert told(error).startswith("--source-ip: ")


def test_the_soft_limit_of_descriptors_is_raised_as_far_as_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    new: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 20_000))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: new.append(limits))
    check_descriptors(500)
    assert new == []
    check_descriptors(5_000)
    assert new == [(5_256, 20_000)]
    with pytest.raises(PreflightError, match=r"50256 open files .* 20000 .*--shards, or run") as e:
        check_descriptors(50_000)
    assert told(e)


def test_ports_count_once_a_source_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "range"
    table.write_text("32768\t60999\n")
    assert ephemeral_ports(table) == (32_768, 60_999)
    monkeypatch.setattr(preflight, "ephemeral_ports", lambda: (32_768, 60_999))
    check_ports(28_232, [])
    check_ports(56_000, [], brokers=2)
    check_ports(80_000, ["127.0.0.2", "127.0.0.3", "127.0.0.4"])
    with pytest.raises(PreflightError, match=r"28232 \(32768-60999, .*\) .*: give 4 with") as error:
        check_ports(100_000, [])
    assert told(error)


def test_memory_is_estimated_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "meminfo"
    table.write_text("MemTotal: 8000000 kB\nMemAvailable:    2000000 kB\nX: 1 kB\n")
    assert available_mb(table) == 2_048
    monkeypatch.setattr(preflight, "available_mb", lambda: 2_048.0)
    check_memory(scenario(), 1)
    with pytest.raises(PreflightError, match=r"in 2 processes need about .* MB and 2,048 MB") as e:
        check_memory(scenario(100_000), 2)
    assert told(e)


def test_a_target_that_cannot_be_reached_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check_target(LinkSettings("127.0.0.1", port), 1)
        check_target(LinkSettings("127.0.0.1", port, source_ips=["127.0.0.9"]), 1)
    with socket.socket() as nobody:  # bound, and not listened on: no other process can take it
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        with pytest.raises(
            ConnectError, match=rf"127.0.0.1:{port} cannot be reached: .*refused"
        ) as e:
            check_target(LinkSettings("127.0.0.1", port), 1)
    assert told(e)


@pytest.mark.parametrize(("ahead_s", "fits"), [(0.0, True), (30.0, False), (-30.0, False)])
def test_a_target_with_another_idea_of_the_time_is_refused(ahead_s: float, fits: bool) -> None:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(404)
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return email.utils.formatdate(time.time() + ahead_s, usegmt=True)

        def log_message(self, *_: object) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.handle_request, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    if fits:
        check_clock(url)
    else:
        way = "ahead of" if ahead_s > 0 else "behind"
        with pytest.raises(PreflightError, match=rf"clock is (2\d|3[01])\.\d s {way}") as error:
            check_clock(url)
        assert told(error)
    server.server_close()
    check_clock(None)
    check_clock(url)  # nobody answers: nothing is known, and the run will say why


def test_an_answer_that_took_its_time_is_no_other_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six seconds for an answer of the very end of them; a clock that is wrong is seen even so."""
    now = 1_780_000_000

    class Answer(http.client.HTTPConnection):
        ahead_s = 6

        def request(self, *_: object, **__: object) -> None: ...

        def getresponse(self) -> Any:
            date = email.utils.formatdate(now + self.ahead_s, usegmt=True)
            return Namespace(getheader=lambda name: date)

    times = itertools.cycle([now, now + 6])
    monkeypatch.setattr(preflight.time, "time", lambda: next(times))
    monkeypatch.setattr(preflight.http.client, "HTTPConnection", Answer)
    check_clock("http://127.0.0.1:1")
    Answer.ahead_s = 30
    with pytest.raises(PreflightError, match="ahead of this machine's"):
        check_clock("http://127.0.0.1:1")


def test_a_client_that_sends_nothing_is_refused_where_a_cloud_waits_for_it() -> None:
    for target in ("local", "aws", "aws:443"):
        with pytest.raises(PreflightError, match=r"--transport memory: .*--broker embedded"):
            check_client("memory", target)
        check_client("native", target)
    check_client("memory", "embedded")
    check_client("memory", "mqtt://127.0.0.1:1883")
