"""Vehicles that return with a session ticket: as themselves, and without one when it is refused."""

import asyncio
import ssl

from broker import Broker, Connection
from test_transport_tls import at_server, issue, pairs, pem, vehicle
from transport_bench import Bench, message, on_both_loops, until

from fleet_sim.transport import Certificate, NativeTransport, Tls


async def serve(bench: Bench, context: ssl.SSLContext | None = None, port: int = 0) -> None:
    await bench.broker.stop()
    bench.broker = Broker()
    await bench.broker.start(context or at_server(), port=port)


def fleet(n: int, **more: bool) -> Tls:
    """Vehicle i has a certificate that names it v{i}."""
    for i in range(n):
        pairs().setdefault(f"v{i}", issue(f"v{i}", pairs()["ca"]))
    files = [Certificate(pem(f"v{i}"), pem(f"v{i}")) for i in range(n)]
    return Tls(ca_file=pem("ca"), certificates=files, **more)


def name_in_certificate(connection: Connection) -> str:
    """Whom the broker takes the vehicle for."""
    assert connection._transport is not None
    subject = connection._transport.get_extra_info("peercert")["subject"]
    return dict(pair for part in subject for pair in part)["commonName"]


def opened(bench: Bench) -> list[Connection]:
    """Connections that came through their TLS handshake, and live."""
    return [c for c in bench.broker.live if c.opened]


async def return_all(bench: Bench, transport: NativeTransport, n: int) -> None:
    """Cut every connection and wait until all are back."""
    count = len(bench.seen.online)
    for connection in opened(bench):
        connection.cut()
    await until(lambda: len(bench.seen.online) == count + n)


@on_both_loops
async def test_each_returns_with_its_own_ticket_as_itself(bench: Bench) -> None:
    await serve(bench)
    n = 4
    transport = await bench.connected(n, tls=fleet(n))
    assert transport.handshakes == (n, 0)
    for turn in (1, 2):
        await return_all(bench, transport, n)
        assert transport.handshakes == (n, n * turn)
        seen = {c.client_id: name_in_certificate(c) for c in opened(bench)}
        assert seen == {f"v{i}": f"v{i}" for i in range(n)}
    for i in range(n):
        transport.publish(i, message(i))
    await until(lambda: sorted(bench.seen.acked) == list(range(n)))


@on_both_loops
async def test_it_can_be_switched_off(bench: Bench) -> None:
    await serve(bench)
    transport = await bench.connected(2, tls=fleet(2, resumption=False))
    await return_all(bench, transport, 2)
    assert transport.handshakes == (4, 0)


@on_both_loops
async def test_without_client_certificates_too(bench: Bench) -> None:
    context = at_server()
    context.verify_mode = ssl.CERT_NONE
    await serve(bench, context)
    transport = await bench.connected(2, tls=vehicle(None))
    await return_all(bench, transport, 2)
    assert transport.handshakes == (2, 2)
    await serve(bench, at_server_anonymous(), port=bench.broker.port)
    await until(lambda: transport.online == 2)
    assert transport.handshakes == (4, 2)


def at_server_anonymous() -> ssl.SSLContext:
    context = at_server()
    context.verify_mode = ssl.CERT_NONE
    return context


@on_both_loops
async def test_a_refused_ticket_costs_no_failure_and_no_identity(bench: Bench) -> None:
    """A broker that restarts has another key: nothing of that is the vehicle's fault."""
    await serve(bench)
    transport = await bench.connected(3, tls=fleet(3))
    await serve(bench, port=bench.broker.port)
    await until(lambda: transport.online == 3 and len(opened(bench)) == 3)
    assert transport.handshakes == (6, 0)
    assert not [reason for reason in transport.failures if "TLS" in reason], transport.failures
    seen = {c.client_id: name_in_certificate(c) for c in opened(bench)}
    assert seen == {"v0": "v0", "v1": "v1", "v2": "v2"}
    await return_all(bench, transport, 3)  # and from now on its tickets are good
    assert transport.handshakes == (6, 3)
    bench.loop_errors.clear()  # the broker's own side of what was broken off


@on_both_loops
async def test_a_broker_whose_tickets_are_never_good_is_not_offered_any(bench: Bench) -> None:
    context = at_server()
    await serve(bench, context)
    transport = await bench.connected(1, tls=fleet(1))
    for turn in range(5):
        # Tickets are bound to the context that gave them.
        await serve(bench, port=bench.broker.port)
        await until(lambda: len(opened(bench)) == 1 and transport.online == 1)
        assert transport.handshakes == (turn + 2, 0)
        unfinished = [c for c in bench.broker.connections if not c.opened]
        assert len(unfinished) == (1 if turn < 3 else 0), turn
    bench.loop_errors.clear()


@on_both_loops
async def test_a_vehicle_that_is_severed_in_the_handshake_leaves_nothing(bench: Bench) -> None:
    await serve(bench)
    transport = bench.transport(1, tls=fleet(1))
    for wait in range(12):
        transport.open(0)
        transport.restore(0)
        await asyncio.sleep(0.004 * wait)
        transport.sever(0, "no radio")
        await asyncio.sleep(0.01)
    transport.restore(0)
    await until(lambda: transport.online == 1)
    await until(lambda: len(opened(bench)) == 1)
    bench.loop_errors[:] = [e for e in bench.loop_errors if "handshake" not in str(e)]
