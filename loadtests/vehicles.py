"""Vehicles that publish over MQTT with a certificate each, by our transport in its own process.

locust -f loadtests/vehicles.py --headless -u 20 -r 5 -t 1m --mqtt-vehicles 20
"""

from _users import Publisher
from locust import constant_pacing, task


class MqttVehicle(Publisher):
    """Publishes once a second."""

    kind = "vehicles"
    weight = 1
    wait_time = constant_pacing(1.0)

    def on_start(self) -> None:
        super().on_start()
        self.tell("connect", "mqtt_connect")

    @task
    def publish(self) -> None:
        self.tell("publish", "mqtt_publish")
