"""Properties of a template that are not applied.

AWS: a stack applies every property of a resource, or fails. An HTTP API's endpoint is an address
any client can resolve.

Stock MiniStack: silently drops a table's time to live, point-in-time recovery and encryption, a
bucket's lifecycle, a stream's encryption, a function's reserved concurrency and dead-letter queue;
stores an HTTP API's CORS and a stage's throttling under names nothing reads (a preflight is
answered 403); ignores `Enabled: false` and `StartingPositionTimestamp` of an event source mapping;
and names an HTTP API `ID.execute-api.localhost`, which only browsers resolve.

Closed by: after MiniStack's own provisioner, what it dropped is set through the service's API, in
process; what it stores wrongly is handed to it as it should be. The endpoint of an HTTP API is a
path on the gateway; as on AWS, a stage other than `$default` is a path segment below it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

from fleet_sim.cloud.local.gaps import _mapping, _seam

Properties = dict[str, Any]
Settle = Callable[[str, Properties, Properties], None]
"""(physical id, old properties, new properties); the old ones are empty for a new resource."""


def settle_table(name: str, old: Properties, new: Properties) -> None:
    dynamodb = _seam.service("dynamodb")
    ttl = new.get("TimeToLiveSpecification")
    if ttl is None and "TimeToLiveSpecification" in old:
        ttl = {**old["TimeToLiveSpecification"], "Enabled": False}
    if ttl is not None:
        _check(dynamodb._update_ttl({"TableName": name, "TimeToLiveSpecification": ttl}))
    backups = new.get("PointInTimeRecoverySpecification") or {}
    recovery = {"PointInTimeRecoveryEnabled": _true(backups.get("PointInTimeRecoveryEnabled"))}
    _check(
        dynamodb._update_continuous_backups(
            {"TableName": name, "PointInTimeRecoverySpecification": recovery}
        )
    )
    encryption = new.get("SSESpecification")
    if encryption is not None or "SSESpecification" in old:
        spec = encryption or {"SSEEnabled": False}
        request = {"Enabled": _true(spec.get("SSEEnabled"))}
        request |= {key: spec[key] for key in ("SSEType",) if key in spec}
        request |= {key: spec[key] for key in ("KMSMasterKeyId",) if key in spec}
        table = dynamodb._tables.get(name)
        table["SSEDescription"] = dynamodb._sse_description_from_spec(request)


def settle_stream(name: str, old: Properties, new: Properties) -> None:
    kinesis = _seam.service("kinesis")
    encryption = new.get("StreamEncryption")
    if encryption:
        _check(kinesis._start_stream_encryption({"StreamName": name, **encryption}))
    elif old.get("StreamEncryption"):
        _check(kinesis._stop_stream_encryption({"StreamName": name}))


def settle_function(name: str, old: Properties, new: Properties) -> None:
    service = _seam.service("lambda_svc")
    reserved = new.get("ReservedConcurrentExecutions")
    if reserved is not None:
        request = {"ReservedConcurrentExecutions": int(reserved)}
        _check(service._put_function_concurrency(name, request))
    elif "ReservedConcurrentExecutions" in old:
        _check(service._delete_function_concurrency(name))
    config = service._functions.get(name)["config"]
    if new.get("DeadLetterConfig"):
        config["DeadLetterConfig"] = new["DeadLetterConfig"]
    else:
        config.pop("DeadLetterConfig", None)


def settle_bucket(name: str, old: Properties, new: Properties) -> None:
    s3 = _seam.service("s3")
    lifecycle = new.get("LifecycleConfiguration")
    if lifecycle:
        _check(s3._put_bucket_lifecycle(name, lifecycle_xml(lifecycle["Rules"])))
    elif old.get("LifecycleConfiguration"):
        _check(s3._delete_bucket_lifecycle(name))


def lifecycle_xml(rules: list[Properties]) -> bytes:
    """PutBucketLifecycleConfiguration's body for a template's rules."""
    root = ElementTree.Element("LifecycleConfiguration")

    def add(parent: ElementTree.Element, tag: str, value: Any) -> None:
        if isinstance(value, dict):
            child = ElementTree.SubElement(parent, tag)
            for key, inner in value.items():
                add(child, key, inner)
        elif value is not None:
            ElementTree.SubElement(parent, tag).text = str(value)

    for rule in rules:
        element = ElementTree.SubElement(root, "Rule")
        add(element, "ID", rule.get("Id"))
        add(element, "Status", rule["Status"])
        add(element, "Filter", {"Prefix": rule.get("Prefix", "")})
        if "ExpirationInDays" in rule:
            add(element, "Expiration", {"Days": rule["ExpirationInDays"]})
        # Each of the next two has a singular, older spelling.
        transitions = [*rule.get("Transitions", []), rule.get("Transition")]
        for transition in filter(None, transitions):
            days, storage = transition.get("TransitionInDays"), transition["StorageClass"]
            add(element, "Transition", {"Days": days, "StorageClass": storage})
        noncurrent = rule.get("NoncurrentVersionExpiration") or {}
        days = noncurrent.get("NoncurrentDays", rule.get("NoncurrentVersionExpirationInDays"))
        if days is not None:
            add(element, "NoncurrentVersionExpiration", {"NoncurrentDays": days})
        add(element, "AbortIncompleteMultipartUpload", rule.get("AbortIncompleteMultipartUpload"))
    return bytes(ElementTree.tostring(root))


def settle_mapping(identifier: str, old: Properties, new: Properties) -> None:
    service = _seam.service("lambda_svc")
    stored = service._esms.get(identifier)
    if "StartingPositionTimestamp" in new:
        stored["StartingPositionTimestamp"] = float(new["StartingPositionTimestamp"])
    stored["Enabled"] = _true(new.get("Enabled", True))
    stored["State"] = "Enabled" if stored["Enabled"] else "Disabled"
    if _mapping.reads_kinesis(stored):
        stored["BatchSize"] = int(new.get("BatchSize", 100))
        for name, value in _mapping.DEFAULTS.items():
            stored[name] = new.get(name, value)
    service._ensure_poller()


def settle_api(identifier: str, old: Properties, new: Properties) -> None:
    record = _seam.service("apigateway")._apis.get(identifier)
    if record["protocolType"] == "HTTP":
        record["apiEndpoint"] = endpoint(identifier)


def endpoint(api_id: str) -> str:
    """An HTTP API's base URL: a path on the gateway instead of a host name of its own."""
    return f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}/_aws/execute-api/{api_id}"


def camel(value: Any) -> Any:
    """The API's spelling of a template's property names."""
    if isinstance(value, dict):
        return {name[:1].lower() + name[1:]: camel(inner) for name, inner in value.items()}
    return [camel(inner) for inner in value] if isinstance(value, list) else value


def respelled(*names: str) -> Callable[[Properties], Properties]:
    def respell(properties: Properties) -> Properties:
        wrong = {name: camel(properties[name]) for name in names if name in properties}
        return {**properties, **wrong}

    return respell


_SETTLE: dict[str, Settle] = {
    "AWS::DynamoDB::Table": settle_table,
    "AWS::Kinesis::Stream": settle_stream,
    "AWS::Lambda::EventSourceMapping": settle_mapping,
    "AWS::Lambda::Function": settle_function,
    "AWS::S3::Bucket": settle_bucket,
    "AWS::ApiGatewayV2::Api": settle_api,
}
_RESPELL = {
    "AWS::ApiGatewayV2::Api": respelled("CorsConfiguration"),
    "AWS::ApiGatewayV2::Stage": respelled("DefaultRouteSettings"),
}


def apply() -> None:
    provisioners = _seam.service("cloudformation.provisioners")
    _seam.expect(provisioners, "_RESOURCE_HANDLERS")
    for service, names in (
        ("dynamodb", ("_update_ttl", "_update_continuous_backups", "_sse_description_from_spec")),
        ("kinesis", ("_start_stream_encryption", "_stop_stream_encryption")),
        ("lambda_svc", ("_put_function_concurrency", "_delete_function_concurrency")),
        ("s3", ("_put_bucket_lifecycle", "_delete_bucket_lifecycle")),
        ("apigateway", ("_apis",)),
    ):
        _seam.expect(_seam.service(service), *names)
    for kind in {*_SETTLE, *_RESPELL}:
        handler = provisioners._RESOURCE_HANDLERS.get(kind)
        if handler is None or not {"create", "update"} <= handler.keys():
            raise _seam.GapError(f"CloudFormation has no create and update of {kind}")
        _wrap(handler, _RESPELL.get(kind, dict), _SETTLE.get(kind))


def _wrap(
    handler: dict[str, Any], respell: Callable[[Properties], Properties], settle: Settle | None
) -> None:
    stock_create, stock_update = handler["create"], handler["update"]

    def create(logical_id: str, properties: Properties, stack_name: str) -> Any:
        physical_id, attributes = stock_create(logical_id, respell(properties), stack_name)
        return _settled(physical_id, attributes, {}, properties)

    def update(
        physical_id: str, old: Properties, new: Properties, stack_name: str, *logical_id: str
    ) -> Any:
        physical_id, attributes = stock_update(
            physical_id, respell(old), respell(new), stack_name, *logical_id
        )
        return _settled(physical_id, attributes, old, new)

    def _settled(physical_id: str, attributes: Properties, old: Properties, new: Properties) -> Any:
        if settle is not None:
            settle(physical_id, old, new)
        # A WebSocket API keeps the host name its clients upgrade on.
        if "ApiEndpoint" in attributes and new.get("ProtocolType", "HTTP") == "HTTP":
            attributes = {**attributes, "ApiEndpoint": endpoint(physical_id)}
        return physical_id, attributes

    handler["create"], handler["update"] = create, update


def _check(response: tuple[int, Any, Any]) -> None:
    """MiniStack's services answer (status, headers, body); an error fails the stack."""
    if response[0] >= 400:
        raise ValueError(f"{response[0]}: {response[2]!r}")


def _true(value: Any) -> bool:
    """Templates may spell a boolean as text."""
    return str(value).lower() == "true"
