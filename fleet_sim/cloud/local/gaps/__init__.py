"""Where MiniStack differs from AWS, one module a difference.

Each module's docstring states AWS's documented behaviour, what stock MiniStack does, and how the
difference is closed; its `apply()` first asserts that what it replaces is there. The tests in
`tests/local/gaps` state AWS's behaviour, and expect stock MiniStack to fail: when it no longer
does, the module can go. `FLEET_SIM_LOCAL_SKIP_GAPS=name,name` starts without some of them.
"""

from __future__ import annotations

import importlib
import logging
import os
from typing import Any, NamedTuple

from fleet_sim.cloud.local.gaps import _seam

# In this order: what stores records, then what writes them, then what carries messages.
GAPS = (
    "stream_expiry",
    "event_source_mapping",
    "lambda_latency",
    "lambda_logs",
    "lambda_scaling",
    "lambda_metrics",
    "queue_mapping",
    "dynamodb_reads",
    "alarms",
    "iam_actions",
    "rule_actions",
    "broker_index",
    "ca_key",
    "listener",
    "cloudformation",
    "distributions",
)
SKIP_VARIABLE = "FLEET_SIM_LOCAL_SKIP_GAPS"

log = logging.getLogger("fleet_sim.local")


class Listening(NamedTuple):
    mqtt_port: int
    ca_pem: str


def skipped() -> set[str]:
    """The gaps to leave open. Raises ValueError for a name that is none."""
    names = set(filter(None, os.environ.get(SKIP_VARIABLE, "").split(",")))
    unknown = names - set(GAPS)
    if unknown:
        raise ValueError(f"{SKIP_VARIABLE} names no gap: {', '.join(sorted(unknown))}")
    return names


def load() -> Any:
    """Applies the corrections and returns the ASGI application that serves every AWS API."""
    left_open = skipped()
    if "listener" in left_open:
        os.environ["IOT_MTLS_PORT"] = str(_free_port())
    module = _seam.application()
    for name in GAPS:
        if name in left_open:
            log.warning("gap %s is left open: %s", name, SKIP_VARIABLE)
            continue
        importlib.import_module(f"{__name__}.{name}").apply()
    # Read last: a correction may have put itself before it.
    return module.app


def readiness() -> Listening | None:
    """The MQTT port and the CA that verifies it, once MiniStack has bound both its listeners."""
    module = _seam.application()
    if module._iot_mtls_state != "listening":
        if module._iot_mtls_state == "degraded":
            raise RuntimeError("the MQTT listener failed to start")
        return None
    iot = _seam.service("iot")
    # The CA is made on first use; made here, no client waits for it.
    return Listening(
        mqtt_port=iot._mtls_server.sockets[0].getsockname()[1], ca_pem=iot.get_ca_cert_pem()
    )


def _free_port() -> int:
    """A port that was free a moment ago: for the stock listener, which cannot choose its own."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
