"""Brokers as the command line names them, and identities before a run."""

from pathlib import Path

import pytest
from rich.console import Console

from fleet_sim.cloud import manifest
from fleet_sim.cloud.target import TargetError
from fleet_sim.engine.endpoint import Endpoint, parse, parse_all
from fleet_sim.engine.preflight import PreflightError
from fleet_sim.engine.provisioning import Order, provision, vins_of
from fleet_sim.scenario import loads
from fleet_sim.transport import LinkSettings, Tls, WebSocket
from fleet_sim.world import World

QUIET = Console(quiet=True)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("mqtt://127.0.0.1", Endpoint("mqtt", "127.0.0.1", 1883)),
        ("mqtt://broker.test:1/", Endpoint("mqtt", "broker.test", 1)),
        ("mqtts://broker.test", Endpoint("mqtts", "broker.test", 8883)),
        ("mqtts://[::1]:443", Endpoint("mqtts", "::1", 443)),
        ("ws://broker.test", Endpoint("ws", "broker.test", 80, "/mqtt")),
        ("ws://broker.test:9001/", Endpoint("ws", "broker.test", 9001, "/")),
        ("wss://b/a/b?c=d", Endpoint("wss", "b", 443, "/a/b?c=d")),
    ],
)
def test_addresses(text, endpoint):
    assert parse(text) == endpoint
    assert parse(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    "text",
    ["mqtt://", "mqtt://h:0", "mqtt://h:65536", "http://h", "mqtt://u:p@h", "mqtt://h/x",
     "mqtts://h:x", "ws://h/a b", "mqtt://h:1:2", "wss://h#x"],
)  # fmt: skip
def test_wrong_addresses_say_what_is_allowed(text):
    with pytest.raises(TargetError, match="mqtt://HOST:PORT, mqtts"):
        parse(text)


def test_several_brokers_are_named_with_commas():
    assert parse_all("mqtt://a:1, mqtt://b:2") == [
        Endpoint("mqtt", "a", 1),
        Endpoint("mqtt", "b", 2),
    ]
    assert parse_all("wss://a") == [Endpoint("wss", "a", 443, "/mqtt")]
    assert parse_all("local") == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("mqtt://a:1,local", "'local' is no broker"),
        ("mqtt://a:1,", "'' is no broker"),
        ("mqtts://a,mqtts://b", "several brokers, mqtts://a,mqtts://b"),
        ("mqtt://a:1,mqtt://b,mqtt://a:1", "names a broker twice"),
    ],
)
def test_brokers_that_do_not_go_together(text, why):
    with pytest.raises(TargetError, match=why):
        parse_all(text)


def test_vehicles_take_brokers_in_turn():
    link = LinkSettings("a", 1, more=(("b", 2), ("c", 3)))
    assert [link.broker(i) for i in range(4)] == [("a", 1), ("b", 2), ("c", 3), ("a", 1)]
    assert LinkSettings("a", 1).broker(7) == ("a", 1)


def test_other_targets_are_no_address():
    assert parse("local") is None


def test_how_to_connect():
    assert Endpoint("mqtt", "h", 1).link().tls is None
    link = Endpoint("wss", "h", 1, "/p").link()
    assert link.tls == Tls()
    assert link.websocket == WebSocket("/p")


def test_vins_are_those_that_the_world_has():
    scenario = loads(
        "name: x\ncity: {generate: {blocks: [3, 3]}}\n"
        "fleet: [{group: a, count: 3}, {group: b, count: 2}]\n"
        "phases: [{name: p, duration: 1s}]\n"
    )
    assert vins_of(scenario, None) == World(scenario).vins
    assert vins_of(None, 3) == World(scenario).vins[:3]
    assert len(vins_of(None, None)) == 1_000


def test_provisioning_for_a_broker(tmp_path: Path):
    order = Order(
        "mqtts://127.0.0.1:8883",
        ca_out=tmp_path / "out" / "ca.pem",
        broker_out=tmp_path / "broker",
        state_dir=tmp_path / "state",
    )
    folder = provision(order, vins_of(None, 2), QUIET)
    assert folder == tmp_path / "state" / "identities" / "127.0.0.1"
    assert {path.name for path in (tmp_path / "broker").iterdir()} == {"ca.pem", "broker.pem"}
    assert (tmp_path / "broker" / "broker.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "out" / "ca.pem").read_bytes() == (folder / "ca.pem").read_bytes()
    assert b"PRIVATE" not in (tmp_path / "out" / "ca.pem").read_bytes()
    again = provision(order._replace(ca_out=None, broker_out=None), vins_of(None, 3), QUIET)
    known = manifest.load(again)
    assert known is not None
    assert len(known.identities) == 3


def test_who_vouches_for_the_broker(tmp_path: Path):
    order = Order("mqtts://h", broker_ca="system", state_dir=tmp_path)
    known = manifest.load(provision(order, vins_of(None, 1), QUIET))
    assert known is not None
    assert known.ca_file is None
    with pytest.raises(PreflightError, match="the manifest says system"):
        provision(order._replace(broker_ca=__file__), vins_of(None, 1), QUIET)
    with pytest.raises(PreflightError, match="--broker-ca: /nowhere: no such file"):
        provision(order._replace(broker_ca="/nowhere"), vins_of(None, 1), QUIET)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("mqtt://h", "mqtt://h:1883 has no TLS"),
        ("nowhere", "'nowhere' is not known"),
        ("local", "no local AWS is running"),
    ],
)
def test_targets_without_identities(tmp_path: Path, target: str, said: str):
    with pytest.raises(TargetError, match=said):
        provision(Order(target, state_dir=tmp_path), vins_of(None, 1), QUIET)
