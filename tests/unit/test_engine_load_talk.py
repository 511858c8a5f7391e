"""A vehicles' process of a load test that misbehaves: told at once, and never left behind."""

import subprocess
from typing import Any

import pytest

from fleet_sim.engine.load import talk
from fleet_sim.engine.load.talk import Order, VehiclesError, VehiclesProcess

ORDER = Order(run="0load-x", vehicles=1, process=0)


def test_a_line_that_is_no_answer_is_passed_on_and_the_end_is_heard(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(talk, "START_TIMEOUT_S", 60.0)
    with pytest.raises(VehiclesError, match="their process has ended"):
        VehiclesProcess(ORDER, ("sh", "-c", "read order; echo a library says hello"))
    assert "a library says hello" in capfd.readouterr().err


def test_answers_after_such_a_line_are_heard() -> None:
    answers = """read order; echo hello; echo '{"number":0}'; read r; echo '{"number":1,"seq":7}'"""
    vehicles = VehiclesProcess(ORDER, ("sh", "-c", answers))
    try:
        assert vehicles.ask("publish", 0).seq == 7
    finally:
        vehicles.close()


def test_one_that_takes_no_order_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def keep(*arguments: Any, **more: Any) -> subprocess.Popen[bytes]:
        made.append(popen(*arguments, **more))
        return made[0]

    def refuse(self: VehiclesProcess, line: bytes) -> None:
        raise VehiclesError("vehicles: their process has ended")

    monkeypatch.setattr(talk.subprocess, "Popen", keep)
    monkeypatch.setattr(VehiclesProcess, "_write", refuse)
    with pytest.raises(VehiclesError):
        VehiclesProcess(ORDER, ("cat",))
    ended = made[0].returncode
    made[0].kill()  # where it was left
    assert ended is not None
