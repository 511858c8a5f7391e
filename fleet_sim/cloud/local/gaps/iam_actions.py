"""What a call must be allowed to do, where its own name is no IAM action.

AWS: a PartiQL statement is authorised as `dynamodb:PartiQLSelect`, `PartiQLInsert`, `PartiQLUpdate`
or `PartiQLDelete` on its table or index (DynamoDB Developer Guide, "IAM security policies with
PartiQL"); SQS's batch calls as the action of a single message (SQS Developer Guide, "SQS API
permissions"). `cloudwatch:PutMetricData` carries the condition key `cloudwatch:namespace`.

Stock MiniStack: asks for `dynamodb:BatchExecuteStatement` and `sqs:SendMessageBatch`, which no
template for AWS grants, and which would grant every table; knows no such condition key.

Closed by: asking as AWS does.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs

import msgspec

from fleet_sim.cloud.local.gaps import _seam

_SQS = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}
_PARTIQL = {
    "dynamodb:ExecuteStatement": None,
    "dynamodb:BatchExecuteStatement": "Statements",
    "dynamodb:ExecuteTransaction": "TransactStatements",
}
"""Call → the member of its body that lists the statements; None when the body is one."""
_VERBS = {"select": "PartiQLSelect", "insert": "PartiQLInsert", "update": "PartiQLUpdate",
          "delete": "PartiQLDelete"}  # fmt: skip
_STATEMENT = re.compile(
    r"^\s*(?:(?P<verb>update)|(?P<verb_into>insert)\s+into|(?P<verb_from>select|delete)\b.*?\bfrom)"
    r"\s+\"?(?P<table>[\w:/-][\w.:/-]*?)\"?(?:\.\"(?P<index>[\w.-]+)\")?(?:\s|$)",
    re.IGNORECASE | re.DOTALL,
)


def statement_check(statement: str, region: str, account_id: str) -> tuple[str, str] | None:
    """The (action, resource) that a PartiQL statement must be allowed; None if it is none."""
    found = _STATEMENT.match(statement)
    if found is None:
        return None
    verb = found["verb"] or found["verb_into"] or found["verb_from"]
    action = _VERBS[verb.lower()]
    arn = f"arn:aws:dynamodb:{region}:{account_id}:table/{found['table']}"
    return f"dynamodb:{action}", f"{arn}/index/{found['index']}" if found["index"] else arn


def _partiql_checks(
    action: str, body: bytes, region: str, account_id: str
) -> list[tuple[str, str]]:
    """Empty when a statement is not understood: the call's own name is asked for then."""
    try:
        document = msgspec.json.decode(body or b"{}")
        listed = _PARTIQL[action]
        statements = [document] if listed is None else document[listed]
        checks = [statement_check(one["Statement"], region, account_id) for one in statements]
    except (msgspec.MsgspecError, KeyError, TypeError):
        return []
    known = [check for check in checks if check is not None]
    return list(dict.fromkeys(known)) if len(known) == len(checks) else []


def _namespace(body: bytes) -> str | None:
    """Of a PutMetricData request, in JSON or as a query."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        fields = parse_qs(body.decode(errors="replace"))
        document = {name: values[0] for name, values in fields.items()}
    namespace = document.get("Namespace") if isinstance(document, dict) else None
    return namespace if isinstance(namespace, str) else None


def apply() -> None:
    actions = _seam.core("iam_actions")
    _seam.expect_parameters(
        actions.extract_iam_action, "service", "method", "path", "headers", "body", "query_params"
    )
    _seam.expect_parameters(
        actions.dynamodb_transaction_checks, "iam_action", "body", "region", "account_id"
    )
    _seam.expect_parameters(actions.request_tag_context, "service", "iam_action", "body", "params")
    stock_extract, stock_checks = actions.extract_iam_action, actions.dynamodb_transaction_checks
    stock_context = actions.request_tag_context

    def extract(*args: Any, **kwargs: Any) -> str | None:
        action: str | None = stock_extract(*args, **kwargs)
        return _SQS.get(action, action) if action else action

    def checks(action: str, body: bytes, region: str, account_id: str) -> list[tuple[str, str]]:
        if action in _PARTIQL:
            return _partiql_checks(action, body, region, account_id)
        found: list[tuple[str, str]] = stock_checks(action, body, region, account_id)
        return found

    def context(service: str, action: str, body: bytes, params: Any) -> dict[str, Any]:
        found: dict[str, Any] = stock_context(service, action, body, params)
        if action == "cloudwatch:PutMetricData" and (namespace := _namespace(body)):
            found = {**found, "cloudwatch:namespace": namespace}
        return found

    actions.extract_iam_action = extract
    actions.dynamodb_transaction_checks = checks
    actions.request_tag_context = context
