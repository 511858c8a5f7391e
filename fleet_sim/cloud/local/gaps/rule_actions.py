"""IoT topic rules: the Kinesis action, the error action, and when the publisher is acknowledged.

AWS: a rule's actions receive what its SELECT makes of the message. The Kinesis action appends it
to a stream under a partition key that may hold substitution templates. When actions of a rule
fail, the rule's error action receives one message that names the failures and carries the original
payload in base64. The rules run after the broker has accepted the message: the publisher's PUBACK
does not wait for an action. A payload that is not a JSON object goes through `SELECT *` as it is;
`SELECT *, ...` adds to an empty payload or a JSON object.

Stock MiniStack: skips the Kinesis action (and S3, Firehose, CloudWatch, Step Functions, HTTP) at
debug level, parses every rule's SQL for every message, awaits every action before the PUBACK, and
silently turns an undecodable payload under `SELECT *, ...` into an event without it.

Closed by: SQL compiled when first needed; the append to Kinesis inside the publish, the other
actions in order behind it; every failure to the error action, an undecodable payload and an action
nobody implements included.
"""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from fleet_sim.cloud.local.gaps import _seam
from fleet_sim.cloud.local.gaps._kinesis import StreamMissingError, StreamWriter
from fleet_sim.cloud.local.gaps._rule_sql import Compiler, Message, UndecodablePayloadError
from fleet_sim.cloud.local.gaps._topics import TopicTree

Scope = tuple[str, str]
"""Account id and region."""

_CACHED_TOPICS = 20_000
_STOCK_ACTIONS = ("lambda", "republish", "dynamoDBv2", "sns", "sqs")
log = logging.getLogger("fleet_sim.local.rules")
_encode = msgspec.json.Encoder().encode


class ActionError(RuntimeError):
    """An action that did not deliver; the message is what the error action is told."""


class Rule:
    """A stored rule with its SQL compiled. `stored` is MiniStack's record, read for `disabled`."""

    def __init__(self, scope: Scope, stored: dict[str, Any], compiler: Compiler) -> None:
        self.scope = scope
        self.stored = stored
        self.name: str = stored["ruleName"]
        sql = stored["sql"]
        self.topic_filter = compiler.topic_filter(sql)
        self.select = compiler.select(sql)
        self.where = compiler.where(sql)
        self.streams: list[KinesisAction] = []
        self.others: list[dict[str, Any]] = []
        for action in stored["actions"]:
            if "kinesis" in action:
                self.streams.append(KinesisAction(action["kinesis"], compiler))
            else:
                self.others.append(action)


class KinesisAction:
    name = "KinesisAction"

    def __init__(self, spec: dict[str, Any], compiler: Compiler) -> None:
        self.resource = str(spec.get("streamName", ""))
        self._stream = compiler.template(self.resource)
        # Without a partition key, AWS spreads the records.
        self._key = compiler.template(str(spec.get("partitionKey") or "${newuuid()}"))
        self._missing = compiler.missing

    def run(self, writer: StreamWriter, scope: Scope, message: Message, event: Any) -> None:
        stream, key = self._stream(message), self._key(message)
        if stream is self._missing or key is self._missing:
            raise ActionError("a substitution template of the action is Undefined for this message")
        try:
            writer.append(*scope, stream, key, event if type(event) is bytes else _encode(event))
        except (StreamMissingError, ValueError) as exc:
            raise ActionError(f"Failed to put a record in the stream. {exc}") from exc


class RuleEngine:
    """Runs the rules of a message: Kinesis at once, everything else in order behind it."""

    def __init__(self) -> None:
        self._iot = _seam.service("iot")
        self._compiler = Compiler()
        self._writer = StreamWriter()
        self._trees: dict[Scope, TopicTree[Rule]] | None = None
        self._by_name: dict[tuple[str, str, str], Rule] = {}
        self._cache: dict[tuple[str, str, str], list[Rule]] = {}
        self._later: deque[Callable[[], Any]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self.undelivered = 0

    def invalidate(self) -> None:
        """Rules changed: compile again when the next message comes."""
        self._trees = None
        self._by_name.clear()
        self._cache.clear()

    def publish(self, scope: Scope, message: Message) -> None:
        """Runs every rule whose filter matches. Never raises: failures go to error actions."""
        key = (*scope, message.topic)
        rules = self._cache.get(key)
        if rules is None:
            rules = self._matching(key)
        for rule in rules:
            self.run(rule, message)

    def named(self, scope: Scope, name: str) -> Rule | None:
        """The rule a Basic Ingest topic names."""
        if self._trees is None:
            self._compile()
        return self._by_name.get((*scope, name))

    def run(self, rule: Rule, message: Message) -> None:
        if rule.stored["ruleDisabled"]:
            return
        try:
            if rule.where is not None and not rule.where(message):
                return
            event = rule.select(message)
        except UndecodablePayloadError as exc:
            failures = [_failed(action.name, action.resource, exc) for action in rule.streams]
            failures += [self._failed(action, exc) for action in rule.others]
            self._defer(lambda: self._report(rule, message, failures))
            return
        failures = []
        for action in rule.streams:
            try:
                action.run(self._writer, rule.scope, message, event)
            except ActionError as exc:
                failures.append(_failed(action.name, action.resource, exc))
        if rule.others or failures:
            self._defer(lambda: self._run_others(rule, message, event, failures))

    def _matching(self, key: tuple[str, str, str]) -> list[Rule]:
        if self._trees is None:
            self._compile()
        assert self._trees is not None
        if len(self._cache) >= _CACHED_TOPICS:
            self._cache.clear()
        tree = self._trees.get(key[:2])
        rules = self._cache[key] = [] if tree is None else tree.match(key[2])
        return rules

    def _compile(self) -> None:
        self._trees = {}
        for (account_id, region, name), stored in list(self._iot._topic_rules._data.items()):
            scope = (account_id, region)
            try:
                rule = Rule(scope, stored, self._compiler)
            except ValueError:
                log.exception("rule %s is left out: its SQL does not compile", name)
                continue
            self._by_name[account_id, region, name] = rule
            if rule.topic_filter:
                self._trees.setdefault(scope, TopicTree()).add(rule.topic_filter, rule)

    def _defer(self, job: Callable[[], Any]) -> None:
        self._later.append(job)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while self._later:
            try:
                await self._later.popleft()()
            except Exception:
                self.undelivered += 1
                log.exception("rule action failed (%d in all)", self.undelivered)

    async def _run_others(
        self, rule: Rule, message: Message, event: Any, failures: list[dict[str, str]]
    ) -> None:
        for action in rule.others:
            try:
                await self._dispatch(rule, action, _document(event, message, self._compiler))
            except Exception as exc:  # noqa: BLE001 - any failure is the error action's business
                log.warning("rule %s: %s failed: %s", rule.name, _kind(action), exc)
                failures.append(self._failed(action, exc))
        if failures:
            await self._report(rule, message, failures)

    async def _report(self, rule: Rule, message: Message, failures: list[dict[str, str]]) -> None:
        """One message to the rule's error action, however many actions failed."""
        error_action = rule.stored.get("errorAction")
        if not error_action:
            self.undelivered += 1
            if self.undelivered == 1 or self.undelivered % 1000 == 0:
                log.warning("%d messages failed in a rule without an error action; now %s: %s",
                            self.undelivered, rule.name, failures)  # fmt: skip
            return
        document = {
            "ruleName": rule.name,
            "topic": message.topic,
            "cloudwatchTraceId": message.trace(),
            "clientId": message.client_id or "N/A",
            "sourceIp": message.source_ip or "",
            "base64OriginalPayload": b64encode(message.payload).decode("ascii"),
            "failures": failures,
        }
        if "kinesis" in error_action:
            action = KinesisAction(error_action["kinesis"], self._compiler)
            action.run(self._writer, rule.scope, message, document)
        else:
            await self._dispatch(rule, error_action, document)

    async def _dispatch(self, rule: Rule, action: dict[str, Any], event: Any) -> None:
        kind = _kind(action)
        if kind not in _STOCK_ACTIONS:
            raise ActionError(f"the local AWS has no {kind} action")
        await self._iot._dispatch_rule_action(*rule.scope, rule.name, action, event)

    def _failed(self, action: dict[str, Any], exc: Exception) -> dict[str, str]:
        kind = _kind(action)
        return _failed(
            self._iot._rule_action_name(kind), self._iot._rule_action_resource(action, kind), exc
        )


def _document(event: Any, message: Message, compiler: Compiler) -> Any:
    """What MiniStack's actions take: a JSON value, or the text of a payload that is not JSON."""
    if not isinstance(event, bytes):
        return event
    value = message.value(compiler.missing)
    if value is compiler.missing:
        raise ActionError("this action takes no binary payload")
    return value


def _kind(action: dict[str, Any]) -> str:
    return next(iter(action), "?")


def _failed(name: str, resource: str, exc: Exception) -> dict[str, str]:
    return {"failedAction": name, "failedResource": resource, "errorMessage": str(exc)}


engine: RuleEngine | None = None
"""The engine, once applied; the broker runs it inside a publish."""


def apply() -> None:
    global engine
    iot = _seam.service("iot")
    _seam.expect(
        iot, "_topic_rules", "_rule_action_name", "_rule_action_resource", "_publish_source_ip"
    )
    _seam.expect_parameters(
        iot._dispatch_rule_action, "account_id", "region", "rule_name", "action", "event"
    )
    _seam.expect_parameters(
        iot._evaluate_topic_rules, "account_id", "region", "topic", "payload", "client_id"
    )
    _seam.expect_parameters(
        iot._run_rule_actions, "account_id", "region", "rule", "payload", "topic", "client_id"
    )
    running = engine = RuleEngine()

    async def evaluate(
        account_id: str, region: str, topic: str, payload: bytes, client_id: str | None = None
    ) -> None:
        principal = iot._rule_message_identity.get()[0]
        ip = iot._publish_source_ip.get()
        running.publish((account_id, region), Message(topic, payload, client_id, principal, ip))

    async def run(
        account_id: str,
        region: str,
        rule: dict[str, Any] | None,
        payload: bytes,
        topic: str = "",
        client_id: str | None = None,
    ) -> None:
        compiled = running.named((account_id, region), rule["ruleName"]) if rule else None
        if compiled is not None:
            principal = iot._rule_message_identity.get()[0]
            ip = iot._publish_source_ip.get()
            running.run(compiled, Message(topic, payload or b"", client_id, principal, ip))

    iot._evaluate_topic_rules = evaluate
    iot._run_rule_actions = run
    for name in ("put_topic_rule", "delete_topic_rule", "reset", "_restore_state"):
        setattr(iot, name, _then(getattr(iot, name), running.invalidate))


def _then(function: Callable[..., Any], after: Callable[[], None]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        finally:
            after()

    return wrapped
