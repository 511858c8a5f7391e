"""Operators who look after update campaigns, and run small ones of their own: signed calls.

locust -f loadtests/operators.py --headless -u 3 -r 1 -t 1m
"""

import time
import uuid
from typing import Any

import gevent
import msgspec
from _users import ApiUser, thinking
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from locust import task

from fleet_sim.cloud.campaigns import signer
from fleet_sim.engine.load.campaign import idle_campaign
from fleet_sim.engine.load.session import session, under_way

LOOK_S = 1.0
GIVE_UP_S = 120.0
ALREADY = 409
"""Status: the campaign is beyond that."""


class Operator(ApiUser):
    """Lists the campaigns and follows one: state, vehicles, audit. Now and then makes one for which
    no vehicle is ever started, holds it, lets it go on and aborts it."""

    kind = "operators"
    weight = 1
    wait_time = thinking(5.0)

    def on_start(self) -> None:
        place = session.set_up.place
        self.url = place.campaigns_url
        self.auth: SigV4Auth = signer(place.target)
        self.ids: list[str] = []
        self.own = ""
        """A campaign of its own that may not be aborted yet."""
        self.status = 0
        """Of the last answer; 0 when none came."""
        self.making: gevent.Greenlet | None = None

    def on_stop(self) -> None:
        if self.making is not None:
            self.making.join()
        if self.own:  # nobody else would end it
            self.act("abort")

    @task(2)
    def overview(self) -> None:
        answer = self.signed("GET", "/campaigns", "campaigns")
        if answer is not None:
            self.ids = [each["id"] for each in answer.get("campaigns", [])]

    @task(3)
    def follow(self) -> None:
        if not self.ids:
            self.overview()
            return
        chosen = session.draw.choice(self.ids)
        for path, name in (("", "campaign"), ("/vehicles", "campaign_vehicles")):
            if self.signed("GET", f"/campaigns/{chosen}{path}", name) is None:
                return
            time.sleep(0.2)
        self.signed("GET", f"/campaigns/{chosen}/audit", "campaign_audit")

    @task(2)
    def run_one(self) -> None:
        if not session.campaigns:
            self.follow()
            return
        if self.own:
            self.end_it()
            return
        # A greenlet of its own: a user who is ended meanwhile has to know what there is to abort.
        self.making = gevent.spawn(self.make_one)
        self.making.join()
        if not self.making.value:
            return
        if self.until("running", self.own):
            self.act("pause")
            time.sleep(LOOK_S)
            self.act("resume")
            time.sleep(LOOK_S)
        self.end_it()

    def make_one(self) -> bool:
        request = idle_campaign(uuid.uuid4().hex[:12], time.time())
        self.own = request.id or ""
        body = msgspec.json.encode(request)
        if self.signed("POST", "/campaigns", "campaign_create", body) is not None:
            return True
        if 400 <= self.status < 500:
            self.own = ""  # it is certain that there is none
        return False

    def end_it(self) -> None:
        """Tried again the next time when it was not answered."""
        campaign = self.own
        if self.act("abort") or self.status in (404, ALREADY):
            self.own = ""
            self.until("aborted", campaign)

    # -- calls ------------------------------------------------------------------------------------

    def act(self, what: str) -> bool:
        """Whether the service took it."""
        path = f"/campaigns/{self.own}/{what}"
        return self.signed("POST", path, f"campaign_{what}") is not None

    def until(self, state: str, campaign: str) -> bool:
        """Looks again and again whether the campaign is there; how long that took is
        `campaign_until_STATE`, which may be a look too high. False when it does not come."""
        name = f"campaign_until_{state}"
        with under_way("PIPE", name):
            return self.seen(state, campaign, name)

    def seen(self, state: str, campaign: str, name: str) -> bool:
        began = time.perf_counter()
        while (took_s := time.perf_counter() - began) < GIVE_UP_S:
            found = self.signed("GET", f"/campaigns/{campaign}", "campaign")
            if found is not None and found["state"] == state:
                self.report("PIPE", name, (time.perf_counter() - began) * 1000)
                return True
            time.sleep(LOOK_S)
        self.report("PIPE", name, took_s * 1000, f"not so in {GIVE_UP_S:.0f} s")
        return False

    def signed(self, method: str, path: str, name: str, body: bytes = b"") -> Any:
        """The answer's document; None when it was refused."""
        headers = {"Content-Type": "application/json"} if body else {}
        request = AWSRequest(method, self.url + path, headers, body or None)
        self.auth.add_auth(request)
        with self.client.request(
            method,
            self.url + path,
            name=name,
            data=body or None,
            headers=dict(request.headers.items()),
            catch_response=True,
        ) as answer:
            if answer.status_code == ALREADY and name == "campaign_abort":
                answer.success()  # whoever is ended while an abort is on its way aborts again
        self.status = answer.status_code
        return answer.json() if answer.status_code in (200, 201, 202) else None
