"""The pipe between the supervisor and its processes."""

import asyncio
import multiprocessing
import os
import struct
import threading
import time

import uvloop

from fleet_sim.engine.process import watch


def test_a_long_message_that_comes_in_parts_is_received_whole() -> None:
    ours, theirs = multiprocessing.Pipe()
    body = b"x" * 100_000

    def send_slowly() -> None:
        # As `Connection` does: the length, then the bytes, with whatever happens in between.
        os.write(theirs.fileno(), struct.pack("!i", len(body)))
        for part in (body[:30_000], body[30_000:]):
            time.sleep(0.02)
            os.write(theirs.fileno(), part)

    async def receive() -> bytes:
        loop = asyncio.get_running_loop()
        received: asyncio.Future[bytes] = loop.create_future()
        watch(loop, ours, lambda: received.set_result(ours.recv_bytes()))
        sender = threading.Thread(target=send_slowly)
        sender.start()
        try:
            return await asyncio.wait_for(received, 60)
        finally:
            loop.remove_reader(ours.fileno())
            sender.join()

    assert uvloop.run(receive()) == body
