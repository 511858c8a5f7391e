"""A distribution can be reached by any client."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from typing import Any

from gap_harness import GapAws, against_stock, unique


def distribution(aws: GapAws) -> tuple[str, str]:
    """Id and domain name of one in front of a bucket that holds `index.html`."""
    s3, cloudfront = aws.client("s3"), aws.client("cloudfront")
    bucket = unique("site").replace("_", "-")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="index.html", Body=b"<h1>page</h1>", ContentType="text/html")
    s3.put_object(Bucket=bucket, Key="a b/é.txt", Body=b"text", ContentType="text/plain")
    access = cloudfront.create_origin_access_control(
        OriginAccessControlConfig={
            "Name": bucket,
            "SigningProtocol": "sigv4",
            "SigningBehavior": "always",
            "OriginAccessControlOriginType": "s3",
        }
    )["OriginAccessControl"]["Id"]
    origin = {
        "Id": "bucket",
        "DomainName": f"{bucket}.s3.us-east-1.amazonaws.com",
        "OriginAccessControlId": access,
        "S3OriginConfig": {"OriginAccessIdentity": ""},
    }
    made = cloudfront.create_distribution(
        DistributionConfig={
            "CallerReference": bucket,
            "Comment": "",
            "Enabled": True,
            "DefaultRootObject": "index.html",
            "Origins": {"Quantity": 1, "Items": [origin]},
            "DefaultCacheBehavior": {
                "TargetOriginId": "bucket",
                "ViewerProtocolPolicy": "allow-all",
                "CachePolicyId": "658327ea-f89d-4fab-a63d-7e88639e58f6",
            },
        }
    )["Distribution"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "cloudfront.amazonaws.com"},
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
        "Condition": {"StringEquals": {"AWS:SourceArn": made["ARN"]}},
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=_policy(statement))
    return made["Id"], made["DomainName"]


def _policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def get(aws: GapAws, path: str, **headers: str) -> tuple[int, str]:
    where = urllib.parse.urlsplit(aws.endpoints.gateway_url)
    assert where.hostname is not None
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


@against_stock
def test_a_distribution_is_a_path_of_the_gateway(aws: GapAws) -> None:
    identifier, _ = distribution(aws)
    assert get(aws, f"/_aws/cloudfront/{identifier}/") == (200, "<h1>page</h1>")
    name = urllib.parse.quote("a b/é.txt")
    assert get(aws, f"/_aws/cloudfront/{identifier}/{name}") == (200, "text")


def test_by_name_it_answers_as_before(aws: GapAws) -> None:
    _, domain = distribution(aws)
    assert get(aws, "/", Host=domain) == (200, "<h1>page</h1>")


def test_what_is_not_there_is_refused(aws: GapAws) -> None:
    identifier, _ = distribution(aws)
    assert (
        get(aws, f"/_aws/cloudfront/{identifier}/none.html")[0] == 403
    )  # as S3, without ListBucket
    assert get(aws, "/_aws/cloudfront/E0000000000000/")[0] >= 400
