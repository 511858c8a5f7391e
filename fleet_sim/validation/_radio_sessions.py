"""`vehicle.Session` and `Backoff` driven without sockets: what reconnects, stores and forwards."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fleet_sim.models.arrays import FloatArray
from fleet_sim.models.radio import RadioPreset
from fleet_sim.validation._radio_links import Drive, country
from fleet_sim.vehicle import Backoff, Message, Send, Session, State

TICK_S = 0.1


def delays_s(clients: int, losses: int, seed: int) -> FloatArray:
    """[losses, clients]: the delay after each failure in a row, from real sessions."""
    uniform = np.random.default_rng(seed).random
    out = np.empty((losses, clients))
    for c in range(clients):
        session = Session(uniform)
        for n in range(losses):
            session.begin()
            delay = session.lost(0.0)
            assert delay is not None
            out[n, c] = delay
    return out


def attempts_s(clients: int, backoff: Backoff, broker_back_s: float, seed: int) -> FloatArray:
    """Times of all attempts to connect of clients that were cut at 0 by a broker that accepts
    again from `broker_back_s` on, s."""
    uniform = np.random.default_rng(seed).random
    times: list[float] = []
    for _ in range(clients):
        at = failures = 0.0
        while True:
            at += backoff.delay_s(int(failures), uniform)
            times.append(at)
            if at >= broker_back_s:
                break
            failures += 1
    return np.array(times)


@dataclass
class Tally:
    """What became of the messages of all vehicles."""

    messages: int = 0
    cuts: int = 0
    """Connections that an outage ended."""
    unanswered: int = 0
    """Written, and without acknowledgement when the connection was cut."""
    stored: int = 0
    """Offered while there was no connection or others waited."""
    duplicates: int = 0
    lost: int = 0
    disordered: int = 0
    """First arrivals that came after a later message of the same vehicle."""


@dataclass
class _Vehicle:
    session: Session
    publishes: deque[tuple[float, Send]] = field(default_factory=deque)
    pubacks: deque[tuple[float, int]] = field(default_factory=deque)
    attempt_s: float | None = 0.0
    offered: int = 0
    arrived: list[int] = field(default_factory=list)


def drive_sessions(
    preset: RadioPreset,
    vehicles: int,
    seconds: float,
    seed: int,
    make: Callable[[Callable[[], float]], Session] = Session,
) -> Tally:
    """Vehicles drive, publish three QoS 1 messages at once each second, and lose what was under way
    at each outage. The broker forgets three sessions in ten. In the end every link comes back."""
    drive = Drive(preset, country(preset, seed), vehicles, seed)
    rng = np.random.default_rng(seed + 1)
    fleet = [_Vehicle(make(rng.random)) for _ in range(vehicles)]
    everyone = np.arange(vehicles)
    tally = Tally()
    ticks, now_s, up = round(seconds / TICK_S), 0.0, drive.links.up

    for tick in range(ticks + round(600 / TICK_S)):
        now_s = (tick + 1) * TICK_S
        if tick < ticks:
            drive.step(TICK_S)
            up = drive.links.up
            half_s = drive.links.rtt_s(everyone) / 2
        else:
            up, half_s = np.ones(vehicles, dtype=np.bool_), np.full(vehicles, 0.04)
        busy = False
        for i, vehicle in enumerate(fleet):
            _serve(vehicle, bool(up[i]), float(half_s[i]), now_s, rng, tally)
            # Vehicle i publishes at its own tenth of each second.
            for _ in range(3 if tick < ticks and (tick + i) % 10 == 0 else 0):
                message = Message(vehicle.offered, "t", b"", 1)
                vehicle.offered += 1
                command = vehicle.session.offer(message)
                if isinstance(command, Send):
                    _write(vehicle, command, now_s, float(half_s[i]))
                else:
                    tally.stored += 1
                    tally.lost += command is not None  # evicted
            busy = busy or bool(vehicle.session.in_flight or vehicle.session.stored)
        if tick >= ticks and not busy:
            break

    for vehicle in fleet:
        first = list(dict.fromkeys(vehicle.arrived))
        tally.messages += vehicle.offered
        tally.lost += vehicle.offered - len(first)
        tally.duplicates += len(vehicle.arrived) - len(first)
        highest = np.maximum.accumulate(first) if first else np.empty(0)
        tally.disordered += int((np.array(first) < highest).sum())
    return tally


def _write(vehicle: _Vehicle, command: Send, now_s: float, half_s: float) -> None:
    """TCP keeps the order: nothing arrives before what was written earlier."""
    earlier = vehicle.publishes[-1][0] if vehicle.publishes else 0.0
    vehicle.publishes.append((max(earlier, now_s + half_s), command))


def _serve(
    vehicle: _Vehicle, up: bool, half_s: float, now_s: float, rng: np.random.Generator, tally: Tally
) -> None:
    session = vehicle.session
    if not up:
        if session.state is State.ONLINE:
            tally.cuts += 1
            tally.unanswered += session.in_flight
            vehicle.publishes.clear()
            vehicle.pubacks.clear()
            delay = session.lost(now_s)
            assert delay is not None
            vehicle.attempt_s = now_s + delay
        return
    while vehicle.publishes and vehicle.publishes[0][0] <= now_s:
        at_s, command = vehicle.publishes.popleft()
        vehicle.arrived.append(command.message.token)
        vehicle.pubacks.append((at_s + half_s, command.packet_id))
    while vehicle.pubacks and vehicle.pubacks[0][0] <= now_s:
        session.acknowledged(vehicle.pubacks.popleft()[1])
    if vehicle.attempt_s is not None and vehicle.attempt_s <= now_s:
        vehicle.attempt_s = None
        session.begin()
        session.opened()
        session.accepted(now_s, session_present=not session.fresh and rng.random() < 0.7)
    while (command_or_none := session.next_send()) is not None:
        _write(vehicle, command_or_none, now_s, half_s)
