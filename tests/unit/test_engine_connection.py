"""What a scenario says about MQTT, on top of what a target says; and CONNECT as it goes out."""

import pickle
from pathlib import Path

import mqtt5
import pytest

from fleet_sim.engine.connection import read_password, with_mqtt
from fleet_sim.engine.preflight import PreflightError
from fleet_sim.scenario import Mqtt, TlsOptions, Will
from fleet_sim.scenario.mqtt import Reconnect
from fleet_sim.scenario.units import Duration
from fleet_sim.transport.settings import LinkSettings, Secret, Tls, WebSocket, connect_packet
from fleet_sim.vehicle import Backoff

VIN = "0FSTRK00XTA000001"
PLAIN = LinkSettings("127.0.0.1", 1883)


def connect(mqtt: Mqtt, environ: dict[str, str] | None = None, *, first=True):
    """CONNECT as the codec reads it from the wire."""
    data = connect_packet(with_mqtt(PLAIN, mqtt, environ or {}), VIN, first=first).write()
    packet, size = mqtt5.read(memoryview(data))
    assert size == len(data)
    assert isinstance(packet, mqtt5.ConnectPacket)
    return packet


def test_defaults_change_nothing_of_the_target():
    assert with_mqtt(PLAIN, Mqtt(), {}) == PLAIN


def test_connect_says_what_the_scenario_says():
    packet = connect(
        Mqtt(
            keep_alive_s=Duration(30),
            session_expiry_s=Duration(600),
            receive_maximum=20,
            username="fleet/{vin}",
            password="${PASSWORD}",
            user_properties={"vehicle": "{vin}"},
            will=Will(
                topic="w/{vin}", payload="{vin} is gone", qos=1, retain=True, delay_s=Duration(5)
            ),
        ),
        {"PASSWORD": "hunter2"},
    )
    assert (packet.client_id, packet.keep_alive, packet.session_expiry_interval) == (VIN, 30, 600)
    assert (packet.username, packet.password) == (f"fleet/{VIN}", b"hunter2")
    assert packet.receive_max == 20
    assert packet.user_properties == [("vehicle", VIN)]
    will = packet.will
    assert will is not None
    assert (will.topic, will.payload) == (f"w/{VIN}", f"{VIN} is gone".encode())
    assert (will.qos, will.retain, will.will_delay_interval) == (mqtt5.QoS.AT_LEAST_ONCE, True, 5)


@pytest.mark.parametrize(
    ("clean", "on_first", "later"),
    [("first", True, False), ("always", True, True), ("never", False, False)],
)
def test_clean_start(clean, on_first, later):
    assert connect(Mqtt(clean_start=clean), first=True).clean_start is on_first
    assert connect(Mqtt(clean_start=clean), first=False).clean_start is later


def test_the_scenario_says_when_vehicles_come_back_and_how_much_they_keep():
    again = Reconnect(
        base_s=Duration(2), cap_s=Duration(30), jitter="none", reset_after_s=Duration(5)
    )
    made = with_mqtt(PLAIN, Mqtt(reconnect=again, store=7), {})
    assert made.backoff == Backoff(2.0, 30.0, 5.0, "none")
    assert made.store_limit == 7


def test_a_secret_is_shown_nowhere():
    settings = with_mqtt(PLAIN, Mqtt(username="u", password="${P}"), {"P": "hunter2"})
    assert settings.password == Secret("hunter2")
    assert "hunter2" not in f"{settings} {settings!r} {settings.password}"
    assert pickle.loads(pickle.dumps(settings)) == settings  # to the processes of shards


def test_a_secret_from_a_file_ends_before_the_last_line_break(tmp_path: Path):
    path = tmp_path / "secret"
    path.write_text("hunter2 \n")
    assert read_password(Mqtt(password=f"file:{path}"), {}) == Secret("hunter2 ")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("${NOT_SET}", "mqtt.password: the environment variable NOT_SET is not set"),
        ("file:/nowhere/x", "mqtt.password: /nowhere/x: No such file or directory"),
    ],
)
def test_a_secret_that_is_not_there(source, said):
    with pytest.raises(PreflightError, match=said):
        read_password(Mqtt(password=source), {"OTHER": "hunter2"})


AWS = "abc-ats.iot.eu-central-1.amazonaws.com"


@pytest.mark.parametrize(
    ("host", "port", "websocket", "offered"),
    [
        (AWS, 443, None, ("x-amzn-mqtt-ca",)),
        (AWS + ".cn", 443, None, ("x-amzn-mqtt-ca",)),
        (AWS, 8883, None, ()),
        (AWS, 443, WebSocket(), ()),
        ("broker.test", 443, None, ()),
        ("abc.iot.evil.test", 443, None, ()),
    ],
)
def test_aws_at_the_port_of_https_is_offered_its_protocol(host, port, websocket, offered):
    target = LinkSettings(host, port, tls=Tls(), websocket=websocket)
    made = with_mqtt(target, Mqtt(), {}).tls
    assert made is not None
    assert made.alpn == offered
    own = with_mqtt(target, Mqtt(tls=TlsOptions(alpn=("mqtt",))), {}).tls
    assert own is not None
    assert own.alpn == ("mqtt",)


def test_the_targets_ca_holds_unless_the_scenario_has_one(tmp_path: Path):
    ca = tmp_path / "ca.pem"
    ca.write_text("")
    target = LinkSettings("h", 8883, tls=Tls(ca_file="/target.pem"))
    kept = with_mqtt(target, Mqtt(), {}).tls
    own = with_mqtt(target, Mqtt(tls=TlsOptions(ca=str(ca))), {}).tls
    assert kept is not None
    assert own is not None
    assert (kept.ca_file, own.ca_file) == ("/target.pem", str(ca))
    with pytest.raises(PreflightError, match=r"mqtt\.tls\.ca: /nowhere: no such file"):
        with_mqtt(target, Mqtt(tls=TlsOptions(ca="/nowhere")), {})
