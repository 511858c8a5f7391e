"""The `aiomqtt` transport: paho's protocol code under asyncio, one client an attempt.

All clients share one thread with asyncio's own event loop: on uvloop, aiomqtt sometimes stops
reading its socket.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import aiomqtt
import mqtt5
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import Client as Paho
from paho.mqtt.client import ConnectFlags
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from fleet_sim.transport.adapted import AdaptedTransport, Client
from fleet_sim.transport.base import Listener
from fleet_sim.transport.limits import Limits
from fleet_sim.transport.mailbox import Mailbox
from fleet_sim.transport.reasons import short_reason
from fleet_sim.transport.settings import LinkSettings, hello, of_vehicle
from fleet_sim.vehicle import Message

_MAX_PACKET_ID = 65_535
# aiomqtt warns at ten unacknowledged messages and at each message that it has lost sight of.
_LOG = logging.getLogger("fleet_sim.aiomqtt")
_LOG.setLevel(logging.CRITICAL)


class AioTransport(AdaptedTransport):
    """As `AdaptedTransport`, with an `aiomqtt.Client` an attempt."""

    def __init__(
        self,
        settings: LinkSettings,
        client_ids: Sequence[str],
        listener: Listener,
        *,
        now_ns: Callable[[], int],
        uniform: Callable[[], float],
    ) -> None:
        super().__init__(settings, client_ids, listener, now_ns=now_ns, uniform=uniform)
        worker = self._worker = asyncio.SelectorEventLoop()
        # aiomqtt connects, with its TLS handshake, in threads of the loop's executor.
        self._pool = ThreadPoolExecutor(settings.connect_concurrency, "aiomqtt")
        worker.set_default_executor(self._pool)
        self.orders = Mailbox(worker, self._worker_failed)
        """For what the engine's thread has to say to the clients' thread."""
        self._thread = threading.Thread(target=self._work, name="aiomqtt", daemon=True)
        self._thread.start()

    def _client(self, i: int, *, first: bool) -> Client:
        return _AioClient(self, i, first=first)

    async def _release(self) -> None:
        self.orders.close()
        worker = self._worker
        worker.call_soon_threadsafe(worker.stop)
        await asyncio.to_thread(self._thread.join)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _work(self) -> None:
        worker = self._worker
        worker.run_forever()
        # What was under way when the time to close was over ends here.
        left = asyncio.all_tasks(worker)
        for task in left:
            task.cancel()
        worker.run_until_complete(_all(left))
        worker.close()

    def _worker_failed(self, error: Exception) -> None:
        self.mailbox.post(self._failed, error)


class _AioClient(Client):
    """Lives on both threads: what is called from the engine is posted to the clients' loop."""

    owner: AioTransport

    def __init__(self, owner: AioTransport, i: int, *, first: bool) -> None:
        super().__init__(owner, i, first=first)
        self._task: asyncio.Task[None] | None = None
        self._mqtt: _CodedClient | None = None
        self._over = False
        self._goodbye: asyncio.Future[None] | None = None

    # -- on the engine's thread -------------------------------------------------------------------

    def start(self) -> None:
        self.owner.orders.post(self._start)

    def publish(self, packet_id: int, message: Message) -> None:
        self.owner.orders.post(self._publish, packet_id, message)

    def cut(self) -> None:
        if not self._over:
            self._over = True
            self.owner.orders.post(self._cut)

    def disconnect(self) -> None:
        self.owner.orders.post(self._disconnect)

    # -- on the clients' thread -------------------------------------------------------------------

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self._goodbye = loop.create_future()
        self._task = loop.create_task(self._run())

    async def _run(self) -> None:
        post = self.owner.mailbox.post
        reason = "closed by the broker"
        try:
            await self._live()
        except aiomqtt.MqttError as error:
            reason = self._reason(error)
        except OSError as error:  # of a certificate's files
            reason = short_reason(error)
        except Exception as error:  # noqa: BLE001 - a bug; nobody waits for this task
            self.owner._worker_failed(error)
        finally:
            if self._mqtt is not None:
                self._mqtt.cut()  # aiomqtt leaves the socket of a failed attempt open
            post(self.owner.ended, self, reason)
            post(self.owner.gone, self)

    async def _live(self) -> None:
        """Connect, and hear what comes, until the connection ends or is to end."""
        owner = self.owner
        settings = owner.settings
        vin = owner.client_ids[self.i]
        mqtt = self._mqtt = _CodedClient(
            settings,
            vin,
            self.i,
            first=self.first,
            on_acknowledged=lambda packet_id, code: owner.mailbox.post(
                owner.acknowledged, self, packet_id, code
            ),
        )
        async with mqtt:
            if self._over:
                return
            if settings.subscriptions and not mqtt.session_present:
                await self._subscribe(mqtt, vin)
            owner.mailbox.post(owner.accepted, self, mqtt.receive_maximum, mqtt.limits)
            assert self._goodbye is not None
            hearing = asyncio.ensure_future(self._hear(mqtt))
            await asyncio.wait([hearing, self._goodbye], return_when=asyncio.FIRST_COMPLETED)
            if hearing.done():
                hearing.result()
            hearing.cancel()

    async def _subscribe(self, mqtt: "_CodedClient", vin: str) -> None:
        for topic, qos in self.owner.settings.subscriptions:
            answers = await mqtt.subscribe(of_vehicle(topic, vin), qos)
            for answer in cast(Sequence[ReasonCode], answers):
                if answer.value >= 0x80:
                    raise aiomqtt.MqttError(f"subscription refused by the broker: {_code(answer)}")

    async def _hear(self, mqtt: "_CodedClient") -> None:
        async for heard in mqtt.messages:
            self.owner.mailbox.post(self.owner.received, self, _packet(heard))

    def _publish(self, packet_id: int, message: Message) -> None:
        if self._mqtt is not None and not self._mqtt.send(packet_id, message):
            self._mqtt.cut()

    def _cut(self) -> None:
        # An attempt that is in a thread goes on until it is connected, and ends then.
        if self._mqtt is not None:
            self._mqtt.cut()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._goodbye is not None and not self._goodbye.done():
            self._goodbye.set_result(None)

    def _reason(self, error: aiomqtt.MqttError) -> str:
        cause = error.__cause__ or error.__context__
        if isinstance(error, MqttConnectError) and isinstance(error.rc, ReasonCode):
            return f"refused by the broker: {_code(error.rc)}"
        if isinstance(cause, aiomqtt.MqttCodeError):  # of the loop that reads messages
            error = cause
        if isinstance(error, aiomqtt.MqttCodeError) and isinstance(error.rc, ReasonCode):
            if self._mqtt is not None and self._mqtt.told_to_go:
                return f"disconnected by the broker: {_code(error.rc)}"
            return "closed by the broker"
        if isinstance(cause, OSError):
            return short_reason(cause)
        return str(error)


class _CodedClient(aiomqtt.Client):
    """An aiomqtt client that tells the reason code of each acknowledgement.

    `aiomqtt.Client.publish` waits for the acknowledgement and hides its code, so a message that the
    broker refused would pass for one that it took. Hence the calls of paho's client below it.
    """

    def __init__(
        self,
        settings: LinkSettings,
        vin: str,
        i: int,
        *,
        first: bool,
        on_acknowledged: Callable[[int, int], None],
    ) -> None:
        username, password, clean_start, pairs, will = hello(settings, vin, first=first)
        connect = _properties(
            PacketTypes.CONNECT,
            SessionExpiryInterval=settings.session_expiry_s,
            ReceiveMaximum=settings.receive_maximum,
            UserProperty=pairs,
        )
        websocket = settings.websocket
        super().__init__(
            settings.host,
            settings.port,
            identifier=vin,
            protocol=aiomqtt.ProtocolVersion.V5,
            username=username,
            password=password,
            logger=_LOG,
            clean_start=clean_start,
            properties=connect,
            keepalive=settings.keepalive_s,
            timeout=settings.connect_timeout_s,
            max_inflight_messages=settings.window,
            tls_context=settings.tls and settings.tls.context_of(i),
            bind_address=settings.source_ips[i % len(settings.source_ips)]
            if settings.source_ips
            else "",
            transport="websockets" if websocket else "tcp",
            websocket_path=websocket.path if websocket else None,
            websocket_headers=dict(websocket.headers) if websocket else None,
            will=will
            and aiomqtt.Will(
                will.topic,
                will.payload,
                will.qos,
                will.retain,
                _properties(PacketTypes.WILLMESSAGE, WillDelayInterval=will.delay_s),
            ),
        )
        self.receive_maximum = _MAX_PACKET_ID
        self.limits = Limits(None, 2)
        self.session_present = False
        self.told_to_go = False
        self._tell = on_acknowledged
        self._packet_ids: dict[int, int] = {}  # ours by paho's
        self._publish_properties = (
            _properties(
                PacketTypes.PUBLISH,
                UserProperty=pairs,
                MessageExpiryInterval=settings.message_expiry_s,
            )
            if pairs or settings.message_expiry_s is not None
            else None
        )
        # Else a connection to nowhere blocks a thread for longer than the attempt may take.
        self._client.connect_timeout = settings.connect_timeout_s

    def send(self, packet_id: int, message: Message) -> bool:
        """Hand it to the connection. False when there is none any more."""
        info = self._client.publish(
            message.topic, message.payload, message.qos, properties=self._publish_properties
        )
        if packet_id and info.rc == 0:
            self._packet_ids[info.mid] = packet_id
        return info.rc == 0

    def cut(self) -> None:
        """End both directions at once; paho reads the end and closes."""
        sock: Any = self._client.socket()
        sock = getattr(sock, "_socket", sock)  # below paho's WebSocket
        if isinstance(sock, socket.socket):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # ended by the other side already

    def _on_connect(
        self,
        client: Paho,
        userdata: Any,
        flags: ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self.session_present = flags.session_present
        self.receive_maximum = getattr(properties, "ReceiveMaximum", _MAX_PACKET_ID)
        self.limits = Limits(
            getattr(properties, "MaximumPacketSize", None), getattr(properties, "MaximumQoS", 2)
        )
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(self, client: Paho, userdata: Any, flags: Any, *rest: Any) -> None:
        self.told_to_go = flags.is_disconnect_packet_from_server
        if not self._connected.done():
            # aiomqtt would go on waiting for CONNACK until its time is over.
            self._connected.set_exception(aiomqtt.MqttError("closed by the broker"))
        super()._on_disconnect(client, userdata, flags, *rest)

    def _on_publish(
        self,
        client: Paho,
        userdata: Any,
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        packet_id = self._packet_ids.pop(mid, 0)
        if packet_id:
            self._tell(packet_id, reason_code.value)


async def _all(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


def _properties(kind: int, **values: object) -> Properties:
    """Of a packet of this kind; those that are None or empty are left out."""
    properties = Properties(kind)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        if value is not None and value != []:
            setattr(properties, name, value)
    return properties


def _packet(heard: aiomqtt.Message) -> mqtt5.PublishPacket:
    assert isinstance(heard.payload, bytes)
    return mqtt5.PublishPacket(
        str(heard.topic),
        heard.payload,
        qos=mqtt5.QoS(heard.qos),
        retain=heard.retain,
        packet_id=heard.mid if heard.qos else None,
    )


def _code(reason: ReasonCode) -> str:
    return f"{str(reason).lower()} (0x{reason.value:02x})"
