"""How long until the API shows what a vehicle published: the whole pipeline in one figure.

locust -f loadtests/probes.py --headless -u 5 -r 5 -t 1m
"""

import time

import gevent
from _users import Publisher
from locust import constant_pacing, task

from fleet_sim.engine.load.session import session, under_way
from fleet_sim.engine.load.talk import Answer

POLL_S = 0.05
GIVE_UP_S = 60.0


class Probe(Publisher):
    """Publishes an observation that carries the load test's run, and asks for it until it is there.

    Polls are 50 ms apart at first, then a tenth of the age: so much the figure may be too high.
    """

    kind = "probes"
    weight = 5
    wait_time = constant_pacing(2.0)

    def on_start(self) -> None:
        super().on_start()
        self.tell("connect", "mqtt_connect")

    @task
    def observe(self) -> None:
        began = time.perf_counter()
        told = self.tell("publish", "mqtt_publish")
        if told is None:
            return
        with under_way("PIPE", "visible"):
            self.until_shown(told, began)

    def until_shown(self, told: Answer, began: float) -> None:
        while (age_s := time.perf_counter() - began) < GIVE_UP_S:
            with self.client.get(
                f"/vehicles/{told.vin}", name="probe_poll", catch_response=True
            ) as answer:
                if answer.status_code == 404:  # nothing of it is stored yet
                    answer.success()
            if answer.status_code == 200:
                view = answer.json()
                if view["run"] == session.set_up.run and view["seq"] >= told.seq:
                    self.report("PIPE", "visible", (time.perf_counter() - began) * 1000)
                    return
            gevent.sleep(min(1.0, max(POLL_S, age_s / 10)))
        self.report("PIPE", "visible", age_s * 1000, f"not shown in {GIVE_UP_S:.0f} s")
