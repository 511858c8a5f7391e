"""A vehicle's downloads at its radio's pace: pieces, pauses, cuts."""

import heapq
from collections.abc import Callable

from fleet_sim.engine.ota.http import NO_ANSWER_S, Reply, ShapedSource
from fleet_sim.engine.ota.vehicle import Pace
from fleet_sim.vehicle import ota_table as t


class Place:
    """Clock, radio and server of one vehicle; answers come when `answer` is called."""

    def __init__(self, content: bytes) -> None:
        self.now_s, self.up, self.content = 0.0, True, content
        self.gap = False
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.waiting: list[tuple[int, int, Callable[[Reply], None]]] = []
        self.told: list[object] = []
        self.source = ShapedSource(self, self, lambda: self.now_s, self.later, Pace(10.0, 2.0))

    def bytes_per_s(self) -> float:
        return 2_000.0 if self.up and not self.gap else 0.0

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (self.now_s + delay_s, len(self.told) + id(call), call))

    def get(self, url: str, first: int, last: int, done: Callable[[Reply], None]) -> None:
        self.waiting.append((first, last, done))

    async def close(self) -> None: ...

    def answer(self) -> None:
        first, last, done = self.waiting.pop(0)
        done(Reply(206, self.content[first : last + 1], len(self.content)))

    def until(self, s: float) -> None:
        while self.queue and self.queue[0][0] <= s:
            self.now_s, _, call = heapq.heappop(self.queue)
            call()
        self.now_s = s

    def metadata(self) -> None:
        self.source.metadata(t.FetchMetadata(1, "u", 100), lambda *told: self.told.append(told))

    def image(self) -> None:
        self.source.image(
            t.FetchImage(1, "u", self.source.staged, len(self.content)),
            self.told.append,
            self.told.append,
        )


def test_a_piece_takes_its_time_and_bytes_stand_for_more() -> None:
    place = Place(b"x" * 1_000)
    place.image()
    place.answer()
    place.until(0.99)  # 1,000 bytes that stand for 2,000
    assert place.told == []
    place.until(1.01)
    assert place.told == [1_000, "complete"]


def test_the_radio_pauses_a_piece_and_a_cut_keeps_what_came() -> None:
    place = Place(b"x" * 1_000)
    place.image()
    place.answer()
    place.until(0.25)
    place.up = False
    place.source.away()
    place.until(5.0)
    assert place.told == []
    place.up = True
    place.source.back()
    place.until(5.25)
    place.source.cut()
    assert place.told == [500, "broken"]
    place.image()
    assert place.waiting[0][:2] == (500, 1_000)  # one byte more than there should be
    place.answer()
    place.until(10.0)
    assert place.told[2:] == [500, "complete"]


def test_metadata_whose_answer_meets_no_radio_is_asked_for_again() -> None:
    place = Place(b"{}")
    place.metadata()
    place.up = False
    place.answer()
    place.until(NO_ANSWER_S / 10.0 + 0.1)
    assert place.told == [("broken", b"")]
    place.up = True
    place.metadata()
    place.answer()
    place.until(20.0)
    assert place.told[1:] == [("complete", b"{}")]


def test_a_handover_as_an_answer_comes_holds_it_up_and_no_longer() -> None:
    place = Place(b"x" * 100)
    place.gap = True
    place.metadata()
    place.answer()
    place.until(1.0)
    assert place.told == []
    place.gap = False
    place.until(1.2)
    assert place.told == [("complete", b"x" * 100)]
    place.gap = True
    place.image()
    place.answer()
    place.until(3.0)
    place.gap = False
    place.until(3.25)
    assert place.told[1:] == [100, "complete"]


def test_a_long_piece_follows_a_rate_that_changes() -> None:
    place = Place(b"x" * 10_000)  # stands for 20,000: 10 s, with a look each 3 s
    place.image()
    place.answer()
    place.until(1.0)
    place.gap = True
    place.until(13.5)
    assert place.told == []  # 3 s of it came, then nothing
    place.gap = False
    place.until(20.4)
    assert place.told == []
    place.until(20.8)  # the other 7 s of it
    assert place.told == [10_000, "complete"]
