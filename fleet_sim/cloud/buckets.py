"""Buckets that the deployment makes and empties."""

from __future__ import annotations

import json
from typing import Any

import boto3
from botocore.exceptions import ClientError

from fleet_sim.cloud.target import Target


class BucketError(RuntimeError):
    """An object could not be deleted; the message names it."""


def exists(target: Target, bucket: str) -> bool:
    """Whether the bucket is there and ours: another account's bucket of this name is an error."""
    try:
        target.client("s3").head_bucket(Bucket=bucket, ExpectedBucketOwner=target.account_id)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise
    return True


def ensure(target: Target, bucket: str) -> None:
    """Create the bucket, encrypted and private, if it is missing."""
    if exists(target, bucket):
        return
    s3 = target.client("s3")
    if target.region == "us-east-1":  # the one region that must not be named
        s3.create_bucket(Bucket=bucket)
    else:
        place: Any = {"LocationConstraint": target.region}
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
    s3.put_public_access_block(
        Bucket=bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": True,
        },
    )
    s3.put_bucket_encryption(
        Bucket=bucket,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
    )
    if not target.local:  # which speaks plain HTTP
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(tls_only(target.region, bucket)))


def tls_only(region: str, bucket: str) -> dict[str, Any]:
    """A bucket policy that refuses plain HTTP."""
    arn = f"arn:{boto3.Session().get_partition_for_region(region)}:s3:::{bucket}"
    return {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    }


def empty(target: Target, bucket: str) -> None:
    """Delete all objects; nothing happens when the bucket is not there."""
    if not exists(target, bucket):
        return
    s3 = target.client("s3")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        keys: Any = [{"Key": item["Key"]} for item in page.get("Contents", ())]
        if keys:
            answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
            for failed in answer.get("Errors", ()):
                raise BucketError(
                    f"s3://{bucket}/{failed.get('Key')} was not deleted: {failed.get('Message')}"
                )
