"""Drivers who look for a free stall near where they go.

locust -f loadtests/drivers.py --headless -u 200 -r 20 -t 2m
"""

from _users import ApiUser, thinking
from locust import task

from fleet_sim.engine.load.session import session

RADII_M = (400, 800, 1_600)
"""Who finds nothing looks further away."""


class Driver(ApiUser):
    """Asks near the destination, looks at the best stall, and goes; then somewhere else."""

    kind = "drivers"
    weight = 80
    wait_time = thinking(8.0)  # reads the list, or drives on, before the next look

    def on_start(self) -> None:
        self.goal = session.goal(self.client)
        self.step = 0

    @task
    def look(self) -> None:
        lat, lon = self.goal
        path = (
            f"/spots?lat={lat:.6f}&lon={lon:.6f}&radius={RADII_M[self.step]}"
            "&state=free&min_confidence=0.5&limit=10"
        )
        answer = self.get(path, "near_spots")
        if answer.status_code != 200:
            return  # the same again, as a driver would
        spots = answer.json()["spots"]
        if spots:
            self.get(f"/spots/{spots[0]['id']}", "spot")
        elif self.step + 1 < len(RADII_M):
            self.step += 1
            return
        self.goal, self.step = session.goal(self.client), 0
