"""Screens that show the map and the counts, and ask again every two seconds, by ETag.

locust -f loadtests/dashboards.py --headless -u 50 -r 10 -t 2m
"""

from _users import ApiUser
from locust import constant_pacing, task

from fleet_sim.engine.load.session import session

PAGE = 500
EVERY_S = 2.0
MAP_EVERY = 5
"""Rounds between two looks at the whole map."""


class Dashboard(ApiUser):
    """Remembers each answer's ETag, as a browser does."""

    kind = "dashboards"
    weight = 15
    wait_time = constant_pacing(EVERY_S)

    def on_start(self) -> None:
        self.tags: dict[str, str] = {}
        self.pages: list[str] = []
        self.bbox = session.area(self.client).bbox
        self.round = session.draw.randrange(MAP_EVERY)  # not all at once

    @task
    def refresh(self) -> None:
        self.ask("/fleet/summary", "summary")
        if self.round % MAP_EVERY == 0:
            self.map()
        self.round += 1

    def map(self) -> None:
        """All pages; of an unchanged one the next is known."""
        path, known, seen = f"/spots?bbox={self.bbox}&limit={PAGE}", list(self.pages), []
        while path:
            seen.append(path)
            answer = self.ask(path, "map_page")
            if answer.status_code == 304:
                at = known.index(path) if path in known else len(known)
                path = known[at + 1] if at + 1 < len(known) else ""
            elif answer.status_code == 200:
                after = answer.json()["next"]
                path = f"/spots?bbox={self.bbox}&limit={PAGE}&next={after}" if after else ""
            else:
                return
        self.pages = seen
        for gone in [p for p in self.tags if p.startswith("/spots") and p not in seen]:
            del self.tags[gone]

    def ask(self, path: str, name: str):  # type: ignore[no-untyped-def]
        answer = self.get(path, name, self.tags.get(path))
        if answer.status_code == 200 and (tag := answer.headers.get("ETag")):
            self.tags[path] = tag
        return answer
