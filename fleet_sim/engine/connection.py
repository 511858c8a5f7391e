"""What a scenario says about MQTT, put on top of what its target says."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from fleet_sim.engine.preflight import PreflightError
from fleet_sim.scenario.mqtt import SECRET_FILE, Mqtt, TlsOptions
from fleet_sim.transport.settings import LinkSettings, Secret, Tls, Will
from fleet_sim.vehicle import Backoff

AWS_ALPN = "x-amzn-mqtt-ca"
"""MQTT with client certificates at port 443 (AWS IoT Core developer guide, "Device communication
protocols")."""

_AWS_IOT = re.compile(r"\.iot\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$")
_HTTPS = 443


def with_mqtt(
    target: LinkSettings, mqtt: Mqtt, environ: Mapping[str, str] = os.environ
) -> LinkSettings:
    """How vehicles connect. `PreflightError` when the password or the CA is not where it should be.

    What a scenario leaves unset is the target's matter.
    """
    will, again = mqtt.will, mqtt.reconnect
    return target._replace(
        tls=None if target.tls is None else _with_tls(target, target.tls, mqtt.tls),
        username=mqtt.username,
        password=read_password(mqtt, environ),
        keepalive_s=int(mqtt.keep_alive_s),
        session_expiry_s=int(mqtt.session_expiry_s),
        clean_start=mqtt.clean_start,
        receive_maximum=mqtt.receive_maximum,
        topic_alias=mqtt.topic_alias,
        message_expiry_s=None if mqtt.message_expiry_s is None else int(mqtt.message_expiry_s),
        user_properties=tuple(mqtt.user_properties.items()),
        will=None
        if will.topic is None
        else Will(will.topic, will.payload, will.qos, will.retain, int(will.delay_s)),
        window=mqtt.in_flight,
        store_limit=mqtt.store,
        backoff=Backoff(
            float(again.base_s), float(again.cap_s), float(again.reset_after_s), again.jitter
        ),
    )


def read_password(mqtt: Mqtt, environ: Mapping[str, str] = os.environ) -> Secret | None:
    """The password, from where the scenario says that it is. Errors name the place, and never what
    is there."""
    source = mqtt.password
    if source is None:
        return None
    if not source.startswith(SECRET_FILE):
        name = source[2:-1]
        if name not in environ:
            raise PreflightError(
                f"mqtt.password: the environment variable {name} is not set (allowed: set it, or "
                "name another)"
            )
        return Secret(environ[name])
    path = Path(source.removeprefix(SECRET_FILE))
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise PreflightError(f"mqtt.password: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PreflightError(f"mqtt.password: {path}: not UTF-8 (allowed: text)") from None
    return Secret(text.rstrip("\r\n"))  # editors end a file's last line


def _with_tls(target: LinkSettings, tls: Tls, options: TlsOptions) -> Tls:
    if options.ca is not None and not Path(options.ca).is_file():
        raise PreflightError(f"mqtt.tls.ca: {options.ca}: no such file (allowed: a PEM file)")
    alpn = options.alpn
    if alpn is None:
        alpn = tls.alpn or aws_alpn(target)
    return tls._replace(
        ca_file=options.ca or tls.ca_file,
        server_name=options.server_name or tls.server_name,
        alpn=alpn,
        resumption=options.resumption,
    )


def aws_alpn(target: LinkSettings) -> tuple[str, ...]:
    """What AWS IoT must be offered at the port that it shares with HTTPS, to take it for MQTT."""
    shared = target.port == _HTTPS and target.websocket is None
    return (AWS_ALPN,) if shared and _AWS_IOT.search(target.host) else ()
