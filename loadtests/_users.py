"""Base of the users: one name for the request, one place for the plan."""

import functools
import math
from typing import Any, Literal

import gevent.ssl
from locust import FastHttpUser

from fleet_sim.engine.load.locust import listen
from fleet_sim.engine.load.session import session, under_way
from fleet_sim.engine.load.talk import Answer, VehiclesError

listen()  # this module is imported once, by the first of the files that use it


class ApiUser(FastHttpUser):
    """Talks to the deployed API, found by the stack's name."""

    abstract = True
    insecure = False
    """Certificates of servers are checked; Locust's default is not to."""
    ssl_context_factory = staticmethod(functools.cache(gevent.ssl.create_default_context))
    """One for all: reading the machine's authorities for each user would be felt."""
    connection_timeout = 10.0
    network_timeout = 30.0

    def __init__(self, environment: Any) -> None:
        assert session.set_up  # waits: Locust refuses a user without a host
        super().__init__(environment)
        request = self.client.request

        @functools.wraps(request)
        def counted(method: str, url: str, name: str | None = None, **more: Any) -> Any:
            with under_way(method, name or url):
                return request(method, url, name=name, **more)

        self.client.request = counted  # type: ignore[method-assign]  # Locust makes the client

    @property
    def worker(self) -> int:
        """Number of this process among the workers; 0 when it is the only one."""
        return max(0, getattr(self.environment.runner, "worker_index", 0))

    def get(self, path: str, name: str, etag: str | None = None) -> Any:
        """GET, under a name that thresholds use. With `etag`: 304 counts as `NAME_unchanged`."""
        headers = {} if etag is None else {"If-None-Match": etag}
        with self.client.get(path, name=name, headers=headers, catch_response=True) as answer:
            if answer.status_code == 304:
                answer.request_meta["name"] = f"{name}_unchanged"
                answer.success()
        return answer

    def report(self, kind: str, name: str, took_ms: float, error: str = "") -> None:
        """Something that is no HTTP request, as an event of Locust."""
        self.environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=took_ms,
            response_length=0,
            exception=RuntimeError(error) if error else None,
            context={},
        )


class Publisher(ApiUser):
    """A user with a vehicle. What it measures comes over a pipe, by the vehicles' own clock."""

    abstract = True

    def on_start(self) -> None:
        self.vehicle = session.take_vehicle()
        self.goal = session.goal(self.client)

    def tell(self, do: Literal["connect", "publish"], name: str) -> Answer | None:
        """The answer, or None; either is reported."""
        try:
            link = session.vehicles(self.worker)
        except VehiclesError as error:
            self.report("MQTT", name, 0.0, str(error))
            return None
        with under_way("MQTT", name):
            answer = link.ask(do, self.vehicle, *self.goal)
        self.report("MQTT", name, answer.took_ns / 1e6, answer.error)
        return None if answer.error else answer


def thinking(median_s: float, spread: float = 0.6) -> Any:
    """Log-normal think time: many are quick, some take long (assumption). `spread`: standard
    deviation of its logarithm."""
    return lambda _: session.draw.lognormvariate(math.log(median_s), spread)
