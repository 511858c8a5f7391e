"""Operators who look after update campaigns: signed calls, none of which changes a campaign.

locust -f loadtests/operators.py --headless -u 3 -r 1 -t 1m
"""

import time
from typing import Any

from _users import ApiUser, thinking
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from locust import task

from fleet_sim.cloud.campaigns import signer
from fleet_sim.engine.load_locust import session


class Operator(ApiUser):
    """Lists the campaigns and follows one: state, vehicles, audit."""

    kind = "operators"
    weight = 1
    wait_time = thinking(5.0)

    def on_start(self) -> None:
        place = session.set_up.place
        self.url = place.campaigns_url
        self.auth: SigV4Auth = signer(place.target)
        self.ids: list[str] = []

    @task(2)
    def overview(self) -> None:
        answer = self.signed("/campaigns", "campaigns")
        if answer is not None:
            self.ids = [each["id"] for each in answer.get("campaigns", [])]

    @task(3)
    def follow(self) -> None:
        if not self.ids:
            self.overview()
            return
        chosen = session.draw.choice(self.ids)
        for path, name in (("", "campaign"), ("/vehicles", "campaign_vehicles")):
            if self.signed(f"/campaigns/{chosen}{path}", name) is None:
                return
            time.sleep(0.2)
        self.signed(f"/campaigns/{chosen}/audit", "campaign_audit")

    def signed(self, path: str, name: str) -> Any:
        """The answer's document; None when it was refused."""
        request = AWSRequest("GET", self.url + path)
        self.auth.add_auth(request)
        answer = self.client.get(self.url + path, name=name, headers=dict(request.headers.items()))
        return answer.json() if answer.status_code == 200 else None
