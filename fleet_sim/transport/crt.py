"""The `awscrt` transport: the MQTT 5 client of the AWS Common Runtime, one an attempt.

The runtime has threads of its own; what it calls back is posted to the engine's loop. With
`sigv4` a vehicle connects by a WebSocket that the usual AWS credentials sign, and needs no
certificate.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import mqtt5 as codec
from awscrt import auth, exceptions, io, mqtt5
from awsiot import mqtt5_client_builder

from fleet_sim.transport.adapted import AdaptedTransport, Client
from fleet_sim.transport.base import Listener
from fleet_sim.transport.limits import Limits
from fleet_sim.transport.reasons import code
from fleet_sim.transport.settings import LinkSettings, hello, of_vehicle
from fleet_sim.vehicle import Message

_AWS_HOST = re.compile(r"[\w-]+\.iot\.(?P<region>[\w-]+)\.amazonaws\.com(\.cn)?")
_NEVER_MS = 3_600_000
"""The runtime's own reconnect: an attempt is ended long before."""
_WITH_THE_CONNECTION = (
    "AWS_ERROR_MQTT5_OPERATION_FAILED_DUE_TO_OFFLINE_QUEUE_POLICY",
    "AWS_ERROR_MQTT5_USER_REQUESTED_STOP",
    "AWS_ERROR_MQTT5_CLIENT_TERMINATED",
)
"""Why messages fail when their connection ends: that says itself why it ended."""
_LOOPBACK_REGION = "us-east-1"


class CrtTransport(AdaptedTransport):
    """As `AdaptedTransport`, with an `awscrt.mqtt5.Client` an attempt."""

    def __init__(
        self,
        settings: LinkSettings,
        client_ids: Sequence[str],
        listener: Listener,
        *,
        now_ns: Callable[[], int],
        uniform: Callable[[], float],
        sigv4: bool = False,
    ) -> None:
        super().__init__(settings, client_ids, listener, now_ns=now_ns, uniform=uniform)
        self.sigv4 = sigv4
        match = _AWS_HOST.fullmatch(settings.host)
        self.region = match["region"] if match else _LOOPBACK_REGION
        # Not the runtime's shared default: that has a thread a core and no known end.
        self.bootstrap = io.ClientBootstrap(
            (group := io.EventLoopGroup(1)), io.DefaultHostResolver(group)
        )
        self.credentials = (
            auth.AwsCredentialsProvider.new_default_chain(self.bootstrap) if sigv4 else None
        )
        self.tls: dict[int, io.ClientTlsContext] = {}

    def _client(self, i: int, *, first: bool) -> Client:
        return _CrtClient(self, i, first=first)

    async def _release(self) -> None:
        self.tls.clear()
        self.credentials = None
        ended = self.bootstrap.shutdown_event
        del self.bootstrap
        await asyncio.to_thread(ended.wait, 2.0)


class _CrtClient(Client):
    owner: CrtTransport

    def __init__(self, owner: CrtTransport, i: int, *, first: bool) -> None:
        super().__init__(owner, i, first=first)
        settings = owner.settings
        self._post = owner.mailbox.post
        self._mqtt: mqtt5.Client | None = None
        self._stopped = False
        self._session_present = False
        self._receive_maximum = 0
        self._limits = Limits(None, 2)
        self._hello = hello(settings, owner.client_ids[i], first=first)
        pairs = self._hello.user_properties
        self._user_properties = [mqtt5.UserProperty(*pair) for pair in pairs] or None

    # -- on the engine's thread -------------------------------------------------------------------

    def start(self) -> None:
        try:
            self._mqtt = self._make()
            self._mqtt.start()
        except (exceptions.AwsCrtError, RuntimeError, OSError) as error:
            # RuntimeError is what the runtime's own objects raise, of a certificate for example.
            # Not from within the call: the transport is about to record this attempt.
            self._post(self.owner.ended, self, reason_of(error))
            self._post(self._released)

    def publish(self, packet_id: int, message: Message) -> None:
        assert self._mqtt is not None
        packet = mqtt5.PublishPacket(
            payload=message.payload,
            qos=mqtt5.QoS(message.qos),
            topic=message.topic,
            message_expiry_interval_sec=self.owner.settings.message_expiry_s,
            user_properties=self._user_properties,
        )
        done = self._mqtt.publish(packet)

        def published(future: Future[Any]) -> None:
            error = future.exception()
            if error is not None:
                if getattr(error, "name", "") not in _WITH_THE_CONNECTION:
                    self._post(self.owner.ended, self, reason_of(error))
            elif packet_id:
                answer = int(future.result().puback.reason_code)
                self._post(self.owner.acknowledged, self, packet_id, answer)

        done.add_done_callback(published)

    def cut(self) -> None:
        self._stop(None)

    def disconnect(self) -> None:
        self._stop(mqtt5.DisconnectPacket())

    def _stop(self, goodbye: mqtt5.DisconnectPacket | None) -> None:
        if not self._stopped and self._mqtt is not None:
            self._stopped = True
            self._mqtt.stop(goodbye)

    def _released(self) -> None:
        self._mqtt = None
        self.owner.gone(self)

    def _make(self) -> mqtt5.Client:
        owner, settings = self.owner, self.owner.settings
        vin = owner.client_ids[self.i]
        options = mqtt5.ClientOptions(
            host_name=settings.host,
            port=settings.port,
            bootstrap=owner.bootstrap,
            connect_options=self._connect_packet(vin),
            session_behavior=mqtt5.ClientSessionBehaviorType.CLEAN
            if self._hello.clean_start
            else mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS,
            extended_validation_and_flow_control_options=(
                mqtt5.ExtendedValidationAndFlowControlOptions.NONE
            ),
            offline_queue_behavior=mqtt5.ClientOperationQueueBehaviorType.FAIL_ALL_ON_DISCONNECT,
            min_reconnect_delay_ms=_NEVER_MS,
            max_reconnect_delay_ms=_NEVER_MS,
            connack_timeout_ms=round(settings.connect_timeout_s * 1_000),
            socket_options=_socket_options(settings.connect_timeout_s),
            on_publish_callback_fn=self._on_publish,
            on_lifecycle_event_stopped_fn=self._on_stopped,
            on_lifecycle_event_connection_success_fn=self._on_success,
            on_lifecycle_event_connection_failure_fn=self._on_failure,
            on_lifecycle_event_disconnection_fn=self._on_disconnection,
            disable_metrics=True,
        )
        if owner.sigv4:
            return mqtt5_client_builder.websockets_with_default_aws_signing(
                owner.region,
                owner.credentials,
                client_options=options,
                endpoint=settings.host,
                ca_filepath=settings.tls.ca_file if settings.tls else None,
                enable_metrics_collection=False,
            )
        if settings.tls is not None:
            options.tls_ctx = self._tls_context()
        if settings.websocket is not None:
            options.websocket_handshake_transform = self._upgrade
        return mqtt5.Client(options)

    def _connect_packet(self, vin: str) -> mqtt5.ConnectPacket:
        settings = self.owner.settings
        will = self._hello.will
        return mqtt5.ConnectPacket(
            client_id=vin,
            keep_alive_interval_sec=settings.keepalive_s,
            username=self._hello.username,
            password=self._hello.password,
            session_expiry_interval_sec=settings.session_expiry_s,
            receive_maximum=settings.receive_maximum,
            user_properties=self._user_properties,
            will_delay_interval_sec=will.delay_s if will else None,
            will=will
            and mqtt5.PublishPacket(
                payload=will.payload,
                qos=mqtt5.QoS(will.qos),
                retain=will.retain,
                topic=will.topic,
            ),
        )

    def _tls_context(self) -> io.ClientTlsContext:
        context = self.owner.tls.get(self.i)
        if context is None:
            tls = self.owner.settings.tls
            assert tls is not None
            if tls.certificates:
                cert_file, key_file = tls.certificates[self.i]
                options = io.TlsContextOptions.create_client_with_mtls(
                    _blocks(cert_file, b"CERTIFICATE"), _blocks(key_file, b"PRIVATE KEY")
                )
            else:
                options = io.TlsContextOptions()
            if tls.ca_file is not None:
                options.override_default_trust_store(_blocks(tls.ca_file, b"CERTIFICATE"))
            options.alpn_list = list(tls.alpn) or None
            context = self.owner.tls[self.i] = io.ClientTlsContext(options)
        return context

    def _upgrade(self, transform_args: mqtt5.WebsocketHandshakeTransformArgs) -> None:
        websocket = self.owner.settings.websocket
        assert websocket is not None
        transform_args.http_request.path = websocket.path
        for name, value in websocket.headers:
            transform_args.http_request.headers.add(name, value)
        transform_args.set_done()

    # -- on the runtime's threads -----------------------------------------------------------------

    def _on_success(self, data: mqtt5.LifecycleConnectSuccessData) -> None:
        self._session_present = bool(data.connack_packet.session_present)
        settled = data.negotiated_settings
        self._receive_maximum = int(settled.receive_maximum_from_server)
        self._limits = Limits(settled.maximum_packet_size_to_server, int(settled.maximum_qos))
        self._post(self._connected)

    def _connected(self) -> None:
        settings = self.owner.settings
        if self._stopped or self._mqtt is None:
            return
        if self._session_present or not settings.subscriptions:
            self.owner.accepted(self, self._receive_maximum, self._limits)
            return
        vin = self.owner.client_ids[self.i]
        topics = [
            mqtt5.Subscription(topic_filter=of_vehicle(topic, vin), qos=mqtt5.QoS(qos))
            for topic, qos in settings.subscriptions
        ]
        done = self._mqtt.subscribe(mqtt5.SubscribePacket(subscriptions=topics))
        done.add_done_callback(self._subscribed)

    def _subscribed(self, future: Future[mqtt5.SubackPacket]) -> None:
        error = future.exception()
        answers = [] if error else future.result().reason_codes
        refused = [answer for answer in answers if int(answer) >= 0x80]
        if error is not None:
            self._post(self.owner.ended, self, reason_of(error))
        elif refused:
            reason = f"subscription refused by the broker: {code(refused[0])}"
            self._post(self.owner.ended, self, reason)
        else:
            self._post(self.owner.accepted, self, self._receive_maximum, self._limits)

    def _on_failure(self, data: mqtt5.LifecycleConnectFailureData) -> None:
        if data.connack_packet is not None:
            reason = f"refused by the broker: {code(data.connack_packet.reason_code)}"
        else:
            reason = reason_of(data.exception)
        self._post(self.owner.ended, self, reason)

    def _on_disconnection(self, data: mqtt5.LifecycleDisconnectData) -> None:
        if data.disconnect_packet is not None:
            reason = f"disconnected by the broker: {code(data.disconnect_packet.reason_code)}"
        else:
            reason = reason_of(data.exception)
        self._post(self.owner.ended, self, reason)

    def _on_stopped(self, _: mqtt5.LifecycleStoppedData) -> None:
        self._post(self._released)

    def _on_publish(self, data: mqtt5.PublishReceivedData) -> None:
        heard = data.publish_packet
        packet = codec.PublishPacket(
            heard.topic,
            heard.payload or b"",
            qos=codec.QoS(int(heard.qos)),
            retain=bool(heard.retain),
            # The runtime does not tell the packet's own id.
            packet_id=1 if heard.qos else None,
        )
        self._post(self.owner.received, self, packet)


def reason_of(error: BaseException) -> str:
    """A reason that is the same for every vehicle it happens to."""
    known = {
        "AWS_ERROR_MQTT_UNEXPECTED_HANGUP": "closed by the broker",
        "AWS_IO_SOCKET_CLOSED": "closed by the broker",
        "AWS_IO_SOCKET_CONNECTION_REFUSED": "Connection refused",
    }
    if isinstance(error, exceptions.AwsCrtError):
        return known.get(error.name, f"{error.name}: {error.message}")
    return f"{type(error).__name__}: {error}"


def _blocks(file: str, kind: bytes) -> bytes:
    """The PEM blocks of a kind in a file: the runtime takes no file that holds other kinds too."""
    data = Path(file).read_bytes()
    blocks = re.findall(rb"-----BEGIN ([A-Z ]*)-----(.*?)-----END \1-----", data, re.DOTALL)
    return b"".join(
        b"-----BEGIN %b-----%b-----END %b-----\n" % (label, body, label)
        for label, body in blocks
        if label.endswith(kind)
    )


def _socket_options(connect_timeout_s: float) -> io.SocketOptions:
    options = io.SocketOptions()
    options.connect_timeout_ms = round(connect_timeout_s * 1_000)
    return options
