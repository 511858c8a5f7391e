"""The map while a run goes on: what is asked, what is kept, what is left out."""

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np

from fleet_sim.contract import Spot, SpotPage
from fleet_sim.engine import snapshots
from fleet_sim.engine.leavings import _shots
from fleet_sim.engine.snapshots import MapSnapshots, PartShot, every_s


class Http:
    """Answers one page after another."""

    def __init__(self, *pages: SpotPage | int) -> None:
        self.pages = list(pages)
        self.asked: list[dict[str, str]] = []

    def get(self, url: str, *, params: dict[str, str]) -> "Http":
        assert url == "http://api/spots"
        self.asked.append(dict(params))
        return self

    async def __aenter__(self) -> Any:
        page = self.pages.pop(0)
        body = b"" if isinstance(page, int) else msgspec.json.encode(page)

        async def read() -> bytes:
            return body

        return SimpleNamespace(status=page if isinstance(page, int) else 200, read=read)

    async def __aexit__(self, *_: object) -> None: ...


def spot(name: str, state: Any) -> Spot:
    return Spot(name, 1.0, 2.0, "St", state, 0.5, 0.0, 0, None)


def take(monkeypatch: Any, *pages: SpotPage | int) -> tuple[MapSnapshots, Http]:
    listed = [SimpleNamespace(id=name, lat=37.0 + i, lon=-122.0) for i, name in enumerate("abcd")]
    monkeypatch.setattr(snapshots, "cities_of", lambda world: world)
    monkeypatch.setattr(snapshots, "registry", lambda cities: SimpleNamespace(spots=listed))
    world = SimpleNamespace(occupied=np.array([False, True, True, False]))
    shard: Any = SimpleNamespace(world=world, t0_ns=1)
    http = Http(*pages)
    taker = MapSnapshots("http://api/", shard, lambda: 77, 10.0)
    session: Any = http
    asyncio.run(taker._take(session, 3))
    return taker, http


def test_pages_are_followed_and_what_is_not_listed_is_unknown(monkeypatch: Any) -> None:
    first = SpotPage([spot("c", "free"), spot("other", "free")], next="more")
    taker, http = take(monkeypatch, first, SpotPage([spot("a", "free"), spot("b", "occupied")]))
    assert [query.get("next") for query in http.asked] == [None, "more"]
    assert http.asked[0]["bbox"] == "-122.0,37.0,-122.0,40.0"
    assert [(s.number, s.at_ns, s.states) for s in taker.shots] == [(3, 77, "0432")]


def test_a_shot_that_failed_halfway_is_counted_and_not_kept(monkeypatch: Any) -> None:
    taker, _ = take(monkeypatch, SpotPage([spot("a", "free")], next="more"), 503)
    assert (taker.shots, dict(taker.problems)) == ([], {"HTTP 503": 1})


def test_a_long_run_has_no_more_shots_than_a_page_holds() -> None:
    assert every_s(60) == 10
    assert every_s(86_400) * snapshots.MOST_SHOTS == 86_400


def test_shots_of_shards_join_by_number_and_a_shard_without_one_leaves_its_towns_unknown() -> None:
    """Towns 0 and 2 are one shard's, town 1 another's; they have two, one and two stalls."""

    def shard(towns: list[int], *shots: PartShot) -> Any:
        return SimpleNamespace(
            share=SimpleNamespace(towns=towns), facts=SimpleNamespace(shots=list(shots))
        )

    second = 1_000_000_000
    parts = [
        shard([0, 2], PartShot(1, 10 * second, "0145"), PartShot(2, 20 * second, "1111")),
        shard([1], PartShot(1, 9 * second, "3")),
    ]
    found = _shots(parts, np.array([0, 2, 3, 5]), 4 * second)
    assert [(shot.t_s, shot.states) for shot in found] == [(5.0, "01345"), (16.0, "11811")]
