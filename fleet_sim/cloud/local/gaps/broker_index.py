"""The MQTT broker's fan-out.

AWS: a publish reaches its subscribers independently of how many others there are, and of how fast
each of them reads. Subscribing again with the same filter replaces the subscription.

Stock MiniStack: walks every subscription and every stored session for each publish (1,000 clients
with 4 subscriptions each: 204 messages/s), awaits each delivery in turn, so that one subscriber
that does not read stalls whoever publishes to it, and adds a second subscription on re-subscribing.

Closed by: topic trees for subscriptions and for the sessions that are away, and deliveries that do
not wait: to a connection of our own listener by writing to its bounded buffer, to any other
session (MQTT over WebSocket) through a bounded queue drained by a task of its own.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from fleet_sim.cloud.local.gaps import _seam, rule_actions
from fleet_sim.cloud.local.gaps._rule_sql import Message
from fleet_sim.cloud.local.gaps._subscriptions import (
    Deliver,
    Outbox,
    Recipient,
    Scope,
    Subscription,
)
from fleet_sim.cloud.local.gaps._topics import TopicTree

_CACHED_TOPICS = 20_000
_BASIC_INGEST = "$aws/rules/"
log = logging.getLogger("fleet_sim.local.broker")


class Broker:
    """Subscriptions, sessions that are away, and what a publish does."""

    def __init__(self) -> None:
        self._iot = _seam.service("iot")
        self._by_id: dict[str, Subscription] = {}
        self._trees: dict[Scope, TopicTree[Subscription]] = {}
        self._away: dict[Scope, TopicTree[str]] = {}
        self._away_filters: dict[tuple[str, str, str], list[str]] = {}
        self._cache: dict[tuple[str, str, str], list[Subscription]] = {}

    def publish_now(
        self,
        scope: Scope,
        message: Message,
        qos: int,
        retain: bool = False,
        properties: bytes = b"",
    ) -> None:
        """Everything a publish does that needs no waiting: subscribers, stored sessions, rules."""
        topic = message.topic
        engine = rule_actions.engine
        if topic.startswith(_BASIC_INGEST):
            self._basic_ingest(scope, message)
            return
        key = (*scope, topic)
        subscribers = self._cache.get(key)
        if subscribers is None:
            subscribers = self._matching(key)
        if retain:
            self._retain(scope, message, qos, properties)
        if subscribers:
            now = time.time()
            aged = self._iot._aged_properties(properties, now, now) or b"" if properties else b""
            for subscriber in subscribers:
                subscriber.recipient.deliver_now(
                    topic, message.payload, min(qos, subscriber.granted_qos), aged,
                    retain and subscriber.keeps_retain,
                )  # fmt: skip
        if qos and self._away_filters:
            self._queue_for_away(scope, message, qos, properties)
        if engine is not None:
            engine.publish(scope, message)

    def _basic_ingest(self, scope: Scope, message: Message) -> None:
        """`$aws/rules/NAME/topic` goes to that rule alone, which sees the rest as its topic."""
        engine = rule_actions.engine
        name, _, message.topic = message.topic[len(_BASIC_INGEST) :].partition("/")
        rule = engine.named(scope, name) if engine is not None else None
        if engine is None or rule is None:
            log.warning("a message for the rule %s, which does not exist, is dropped", name)
            return
        engine.run(rule, message)

    def _matching(self, key: tuple[str, str, str]) -> list[Subscription]:
        if len(self._cache) >= _CACHED_TOPICS:
            self._cache.clear()
        tree = self._trees.get(key[:2])
        found = self._cache[key] = [] if tree is None else tree.match(key[2])
        return found

    def _retain(self, scope: Scope, message: Message, qos: int, properties: bytes) -> None:
        iot = self._iot
        scoped = iot._scoped_topic(*scope, message.topic)
        if message.payload:
            iot._retained[scoped] = iot._RetainedMessage(
                scoped, message.payload, qos, properties, time.time()
            )
        else:
            iot._retained.pop(scoped, None)

    def subscribe(
        self,
        scope: Scope,
        topic_filter: str,
        deliver: Deliver,
        granted_qos: int,
        client_id: str | None,
        keeps_retain: bool,
    ) -> tuple[Subscription, bool]:
        """Adds the subscription; the flag says whether it replaced one of the same client."""
        tree = self._trees.setdefault(scope, TopicTree())
        replaced = False
        if client_id is not None:
            for other in tree.under(topic_filter):
                if other.client_id == client_id:
                    replaced = True
                    self.unsubscribe(other.identifier)
        subscription = Subscription(
            scope, topic_filter, deliver, self._recipient(deliver), granted_qos, client_id,
            keeps_retain,
        )  # fmt: skip
        tree.add(topic_filter, subscription)
        self._by_id[subscription.identifier] = subscription
        self._forget_matches(topic_filter)
        return subscription, replaced

    def unsubscribe(self, identifier: str) -> None:
        subscription = self._by_id.pop(identifier, None)
        if subscription is not None:
            self._trees[subscription.scope].discard(subscription.topic_filter, subscription)
            self._forget_matches(subscription.topic_filter)

    def _forget_matches(self, topic_filter: str) -> None:
        if "+" in topic_filter or "#" in topic_filter:
            self._cache.clear()
        else:
            # The usual filter of a vehicle names one topic: the others keep their matches.
            for key in [(*scope, topic_filter) for scope in self._trees]:
                self._cache.pop(key, None)

    def _recipient(self, deliver: Deliver) -> Recipient:
        session = getattr(deliver, "__self__", None)
        if session is None:
            return Outbox(deliver, self._iot)
        if hasattr(session, "deliver_now"):
            return session  # type: ignore[no-any-return]  # untyped: checked to be a Recipient
        # On the session, so that it goes when the session does; one for all of its filters, so
        # that messages stay in order.
        outbox: Outbox | None = getattr(session, "_outbox", None)
        if outbox is None:
            outbox = session._outbox = Outbox(deliver, self._iot)
        return outbox

    def gone_away(self, key: tuple[str, str, str]) -> None:
        """A client disconnected: if its session is kept, messages are now stored for it."""
        session = self._iot._persistent_sessions.get(key)
        if session is None:
            return
        self.back(key)
        self._away_filters[key] = list(session.subscriptions)
        tree = self._away.setdefault(key[:2], TopicTree())
        for topic_filter in session.subscriptions:
            tree.add(topic_filter, key[2])

    def back(self, key: tuple[str, str, str]) -> None:
        """A client connected, or its session ended."""
        for topic_filter in self._away_filters.pop(key, ()):
            self._away[key[:2]].discard(topic_filter, key[2])

    def _queue_for_away(self, scope: Scope, message: Message, qos: int, properties: bytes) -> None:
        tree = self._away.get(scope)
        if tree is None:
            return
        iot, now = self._iot, time.time()
        for client_id in dict.fromkeys(tree.match(message.topic)):
            session = iot._persistent_sessions.get((*scope, client_id))
            if session is None or iot._is_session_expired(session):
                self.back((*scope, client_id))
                continue
            entry = (message.topic, message.payload, qos, properties, now)
            session.queued_messages.append(entry)
            if len(session.queued_messages) > iot._MAX_QUEUED_MESSAGES:
                del session.queued_messages[0]
                log.warning("the stored session of %s overflows", client_id)

    def clear(self) -> None:
        for store in (self._by_id, self._trees, self._away, self._away_filters, self._cache):
            store.clear()


broker: Broker | None = None
"""The broker, once applied; the listener publishes into it."""


def apply() -> None:
    global broker
    iot = _seam.service("iot")
    _seam.expect(
        iot, "_MAX_QUEUED_MESSAGES", "_RetainedMessage", "_aged_properties",
        "_delivery_properties", "_delivery_retain", "_handle_jobs_publish",
        "_handle_shadow_publish", "_is_session_expired", "_parse_jobs_topic",
        "_parse_shadow_topic", "_persistent_sessions", "_publish_source_ip", "_retained",
        "_scoped_topic", "broker_reset", "broker_stop", "publishing_events",
    )  # fmt: skip
    _seam.expect_parameters(
        iot.broker_publish,
        "account_id",
        "region",
        "topic",
        "payload",
        "qos",
        "retain",
        "properties",
        "client_id",
        "principal",
    )
    _seam.expect_parameters(
        iot.broker_subscribe,
        "account_id",
        "region",
        "topic_filter",
        "callback",
        "granted_qos",
        "client_id",
        "retain_as_published",
        "retain_handling",
    )
    _seam.expect_parameters(iot.broker_unsubscribe, "subscription_id")
    _seam.expect_parameters(iot._register_client, "account_id", "region", "client_id", "session")
    _seam.expect_parameters(iot._deregister_client, "account_id", "region", "client_id", "session")
    running = broker = Broker()
    _replace_publish(iot, running)
    _replace_subscribe(iot, running)
    stock_register, stock_deregister = iot._register_client, iot._deregister_client
    stock_reset, stock_restore = iot.broker_reset, iot._broker_restore_state

    def register(account_id: str, region: str, client_id: str, *rest: Any) -> None:
        running.back((account_id, region, client_id))
        stock_register(account_id, region, client_id, *rest)

    def deregister(account_id: str, region: str, client_id: str, session: Any = None) -> Any:
        recorded = stock_deregister(account_id, region, client_id, session)
        if recorded:
            running.gone_away((account_id, region, client_id))
        return recorded

    def reset() -> None:
        stock_reset()
        running.clear()

    def restore(data: Any) -> None:
        stock_restore(data)
        for key in iot._persistent_sessions:
            running.gone_away(key)

    iot._register_client, iot._deregister_client = register, deregister
    iot.broker_reset, iot._broker_restore_state = reset, restore


def _replace_publish(iot: Any, running: Broker) -> None:
    stock_evaluate = iot._evaluate_topic_rules

    async def broker_publish(
        account_id: str,
        region: str,
        topic: str,
        payload: bytes,
        qos: int = 0,
        retain: bool = False,
        properties: bytes = b"",
        client_id: str | None = None,
        principal: str | None = None,
    ) -> None:
        ip = iot._publish_source_ip.get()
        message = Message(topic, payload, client_id, principal, ip)
        running.publish_now((account_id, region), message, qos, retain, properties)
        if topic.startswith(_BASIC_INGEST):
            return
        if rule_actions.engine is None:
            with iot._rule_message_scope(principal):
                await stock_evaluate(account_id, region, topic, payload, client_id)
        if not topic.startswith("$aws/things/"):
            return
        shadow, jobs = iot._parse_shadow_topic(topic), iot._parse_jobs_topic(topic)
        try:
            if shadow is not None:
                await iot._handle_shadow_publish(account_id, region, *shadow, payload)
            if jobs is not None:
                async with iot.publishing_events():
                    await iot._handle_jobs_publish(account_id, region, *jobs, payload)
        except Exception:
            # What a service makes of a request must not end the connection that carried it.
            log.exception("the request on %s failed", topic)

    iot.broker_publish = broker_publish


def _replace_subscribe(iot: Any, running: Broker) -> None:
    async def broker_subscribe(
        account_id: str,
        region: str,
        topic_filter: str,
        callback: Deliver,
        granted_qos: int = 0,
        client_id: str | None = None,
        retain_as_published: bool = False,
        retain_handling: int = 0,
    ) -> str:
        subscription, replaced = running.subscribe(
            (account_id, region), topic_filter, callback, granted_qos, client_id,
            retain_as_published,
        )  # fmt: skip
        wanted = retain_handling == 0 or (retain_handling == 1 and not replaced)
        # AWS IoT sends no retained message for a filter with wildcards.
        if wanted and "+" not in topic_filter and "#" not in topic_filter:
            kept = iot._retained.get(iot._scoped_topic(account_id, region, topic_filter))
            aged = None if kept is None else iot._aged_properties(kept.properties, kept.ts)
            if kept is not None and aged is not None:
                subscription.recipient.deliver_now(
                    topic_filter, kept.payload, min(kept.qos, granted_qos), aged, True
                )
        return subscription.identifier

    async def broker_unsubscribe(subscription_id: str) -> None:
        running.unsubscribe(subscription_id)

    iot.broker_subscribe, iot.broker_unsubscribe = broker_subscribe, broker_unsubscribe
