"""The part `mqtt` of a scenario: what is taken, refused, and where files are."""

from pathlib import Path

import pytest

from fleet_sim.scenario import ScenarioError, dump, load, loads

BASE = "name: x\nfleet: [{group: a, count: 1}]\nphases: [{name: p, duration: 1s}]\n"


def refusal(mqtt: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        loads(f"{BASE}mqtt: {mqtt}\n", name="x.yaml")
    return str(caught.value)


def test_everything_can_be_said_and_comes_back():
    text = """{keep_alive: 30s, session_expiry: 10m, clean_start: always, in_flight: 10,
      receive_maximum: 20, topic_alias: true, message_expiry: 1m, username: "fleet/{vin}",
      password: "${FLEET_PASSWORD}", user_properties: {team: blue, vehicle: "{vin}"},
      will: {topic: "fleet/{vin}/will", payload: gone, qos: 1, retain: true, delay: 5s},
      store: 50, reconnect: {base: 500ms, cap: 10s, jitter: decorrelated, reset_after: 5s},
      tls: {ca: /etc/ca.pem, server_name: broker.test, alpn: [mqtt], resumption: false}}"""
    scenario = loads(f"{BASE}mqtt: {text}\n")
    assert scenario.mqtt.will.delay_s == 5
    assert scenario.mqtt.tls.alpn == ("mqtt",)
    assert loads(dump(scenario)) == scenario


@pytest.mark.parametrize(
    ("mqtt", "said"),
    [
        (
            "{password: hunter2}",
            "x.yaml:4: mqtt.password: 'hunter2' is not allowed (allowed: '${NAME}'",
        ),
        ("{keep_alive: 1500ms}", "x.yaml:4: mqtt.keep_alive: 1.5s is not allowed (allowed: whole"),
        ("{keep_alive: 1d}", "x.yaml:4: mqtt.keep_alive: '1d' is not allowed (allowed: 0s..18h"),
        ("{message_expiry: 0s}", "x.yaml:4: mqtt.message_expiry: 0s is not allowed"),
        ("{in_flight: 0}", "x.yaml:4: mqtt.in_flight: 0 is not allowed (allowed: 1..65535)"),
        ("{store: 0}", "x.yaml:4: mqtt.store: 0 is not allowed (allowed: 1..1000000)"),
        (
            "{reconnect: {base: 5s, cap: 2s}}",
            "x.yaml:4: mqtt.reconnect.cap: 2s is not allowed (allowed: base, 5s, or more)",
        ),
        ("{reconnect: {base: 0s}}", "x.yaml:4: mqtt.reconnect.base: '0s' is not allowed"),
        ("{reconnect: {jitter: some}}", "(allowed: decorrelated, full, none)"),
        ("{clean_start: sometimes}", "(allowed: always, first, never)"),
        ("{will: {topic: 'a/#'}}", "x.yaml:4: mqtt.will.topic: 'a/#' is not allowed"),
        ("{will: {qos: 2}}", "x.yaml:4: mqtt.will.qos: 2 is not allowed (allowed: 0, 1)"),
        ("{will: {delay: 500ms}}", "x.yaml:4: mqtt.will.delay: 500ms is not allowed"),
        ('{username: "a\\nb"}', "(allowed: text of one line)"),
        ("{tls: {alpn: ['']}}", "x.yaml:4: mqtt.tls.alpn[0]: '' is not allowed"),
        ("{user_properties: {'': x}}", "mqtt.user_properties"),
        ("{keepalive: 5s}", "did you mean 'keep_alive'"),
    ],
)
def test_what_is_refused_says_why(mqtt, said):
    assert said in refusal(mqtt)


def test_a_password_in_the_file_is_not_shown_in_full_length():
    """It should not be there; a log that shows the error should not make it worse."""
    assert "hunter2" not in refusal("{password: hunter2}").replace("'hunter2'", "", 1)


def test_files_are_beside_the_scenario(tmp_path: Path):
    path = tmp_path / "s.yaml"
    path.write_text(f"{BASE}mqtt: {{password: 'file:secret.txt', tls: {{ca: pki/ca.pem}}}}\n")
    mqtt = load(path).mqtt
    assert mqtt.password == f"file:{tmp_path}/secret.txt"
    assert mqtt.tls.ca == f"{tmp_path}/pki/ca.pem"
