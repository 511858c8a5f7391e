"""Where a CloudFront distribution is reached.

AWS: a distribution's domain name is an address that any client can resolve.

Stock MiniStack: serves a distribution to requests whose `Host` is `LABEL.cloudfront.net` or
`LABEL.cloudfront.localhost`; the first belongs to AWS, and the second is resolved by some browsers
and by few other clients.

Closed by: a distribution is also at a path of the gateway, `/_aws/cloudfront/ID/`, as an HTTP API
is (`cloudformation.py`). Only the address is translated; MiniStack answers as it would by name.
"""

from __future__ import annotations

from typing import Any

from fleet_sim.cloud.local.gaps import _seam

PREFIX = "/_aws/cloudfront/"


def apply() -> None:
    module = _seam.application()
    cloudfront = _seam.service("cloudfront")
    _seam.expect(module, "app", "_parse_cloudfront_dataplane_host")
    _seam.expect(cloudfront, "_distributions", "find_distribution_for_label")
    stock = module.app

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            scope = translated(scope, cloudfront._distributions)
        await stock(scope, receive, send)

    module.app = app


def translated(scope: dict[str, Any], distributions: Any) -> dict[str, Any]:
    """The request as if it had come by the distribution's domain name; unchanged when there is no
    such distribution, or when a slash is missing after its id."""
    identifier, slash, _ = scope["path"].removeprefix(PREFIX).partition("/")
    found = distributions.get(identifier)
    if found is None or not slash:
        return scope
    label = found["DomainName"].partition(".")[0]
    cut = len(PREFIX) + len(identifier)
    headers = [(name, value) for name, value in scope["headers"] if name.lower() != b"host"]
    headers.append((b"host", f"{label}.cloudfront.net".encode()))
    raw = scope.get("raw_path") or scope["path"].encode()
    return {**scope, "path": scope["path"][cut:], "raw_path": raw[cut:], "headers": headers}
