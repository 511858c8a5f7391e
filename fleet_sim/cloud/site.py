"""The live map and dashboard: static files from `infra/site` in the bucket that CloudFront serves.

A build is the files as they are, under a folder named after their content (`assets/HASH/`, cached
for ever), the page that points there, and what the deployment knows (`config.json`). The city that
a run deploys is `data/city.json`. Those three are revalidated at each request.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from botocore.exceptions import ClientError

from fleet_sim.cloud.target import Target
from fleet_sim.resources import data_dir
from fleet_sim.world import City
from fleet_sim.world.towns import registry

PAGE = "index.html"
CONFIG_KEY = "config.json"
CITY_KEY = "data/city.json"
_ASSETS = "assets/"
_FOREVER = "public, max-age=31536000, immutable"
_REVALIDATE = "no-cache"
_VERSION = "fleet-sim-version"
"""Metadata of the page: hash of all that was uploaded with it."""

# Not left to the machine's own table, which may say text/plain: a browser then runs no module.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


class SiteConfig(msgspec.Struct, frozen=True):
    """`config.json`: what an open page reads first."""

    api: str
    """Base URL of the HTTP API, without a slash at the end."""
    version: str
    poll_s: float
    """Between two questions to the API about what moves."""
    stale_s: float
    """Without an answer for this long the page says that its data is old."""
    region: str = ""
    """Where requests to `campaigns` are signed for."""
    campaigns: str | None = None
    """Base URL of the operators' API; null where no campaign service is deployed."""


class Stalls(msgspec.Struct, frozen=True):
    """Columns of one length: a stall's id, middle, the lane's bearing, its length, its street."""

    id: list[str]
    lat: list[float]
    lon: list[float]
    bearing_deg: list[float]
    length_m: list[float]
    street: list[int]
    """Index into `CityDocument.streets`."""


class CityDocument(msgspec.Struct, frozen=True):
    """`data/city.json`: the deployed city as the map draws it. Angles are degrees."""

    city: str
    """As in the spot registry; empty when no city was deployed yet."""
    attribution: str
    streets: list[str]
    lines: list[tuple[int, int, float, float, float, float]]
    """Pieces of street: index into `streets`, lanes of both directions, lat, lon, lat, lon."""
    stalls: Stalls


NO_CITY = CityDocument("", "", [], [], Stalls([], [], [], [], [], []))


class SiteFile(NamedTuple):
    key: str
    body: bytes
    content_type: str
    cache: str


def build(config: SiteConfig, source: Path | None = None) -> tuple[str, list[SiteFile]]:
    """The version and the files of the site, the page last; `config.version` is overwritten.

    The version is a hash of all files: the same sources and settings have the same.
    """
    source = source or data_dir("infra") / "site"
    assets = {
        file.relative_to(source).as_posix(): file.read_bytes()
        for file in sorted(source.rglob("*"))
        if file.is_file() and file.name != PAGE
    }
    page = (source / PAGE).read_text()
    digest = hashlib.sha256(page.encode())
    for name, body in assets.items():
        digest.update(f"{name}\0{hashlib.sha256(body).hexdigest()}\n".encode())
    folder = f"{_ASSETS}{digest.hexdigest()[:16]}/"
    digest.update(msgspec.json.encode(msgspec.structs.replace(config, version="")))
    version = digest.hexdigest()[:16]
    files = [
        SiteFile(folder + name, body, _content_type(name), _FOREVER)
        for name, body in assets.items()
    ]
    settings = msgspec.json.encode(msgspec.structs.replace(config, version=version))
    files.append(SiteFile(CONFIG_KEY, settings, _TYPES[".json"], _REVALIDATE))
    pointed = page.replace('="./', f'="./{folder}').encode()
    files.append(SiteFile(PAGE, pointed, _TYPES[".html"], _REVALIDATE))
    return version, files


def _content_type(name: str) -> str:
    suffix = Path(name).suffix
    found = _TYPES.get(suffix) or mimetypes.guess_type(name)[0]
    if found is None:
        raise ValueError(f"infra/site/{name}: no content type is known for {suffix!r}")
    return found


def publish(target: Target, bucket: str, config: SiteConfig) -> bool:
    """Bring the bucket to this build; False when it is there already.

    The page goes last, so that no visitor finds one whose files are not there yet; files of former
    builds go after it. Where no city was deployed, an empty one is put.
    """
    version, files = build(config)
    s3 = target.client("s3")
    if _metadata(s3, bucket, PAGE).get(_VERSION) == version:
        return False
    if not _exists(s3, bucket, CITY_KEY):
        _put_city(s3, bucket, NO_CITY)
    for file in files:
        s3.put_object(
            Bucket=bucket,
            Key=file.key,
            Body=file.body,
            ContentType=file.content_type,
            CacheControl=file.cache,
            Metadata={_VERSION: version},
        )
    kept = {file.key for file in files}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=_ASSETS):
        for item in page.get("Contents", ()):
            if (key := item["Key"]) not in kept:
                s3.delete_object(Bucket=bucket, Key=key)
    return True


def publish_city(target: Target, bucket: str, cities: Sequence[City]) -> None:
    """Put the streets and stalls of a run's towns where open pages find them."""
    _put_city(target.client("s3"), bucket, city_document(cities))


def address(target: Target, domain: str, distribution: str) -> str:
    """Where a browser finds the site, with a slash at the end."""
    if target.endpoint_url is None:
        return f"https://{domain}/"
    return f"{target.endpoint_url}/_aws/cloudfront/{distribution}/"


def city_document(cities: Sequence[City]) -> CityDocument:
    """What the map draws of these towns; each piece of street once for both directions."""
    spots = registry(cities)
    names: dict[str, int] = {}
    lines: list[tuple[int, int, float, float, float, float]] = []
    for city in cities:
        roads = city.roads
        lat, lon = (a.round(6) for a in city.projection.to_degrees(roads.node_x, roads.node_y))
        ends = np.sort(np.stack([roads.tail, roads.head], axis=1), axis=1)
        pairs, first, piece = np.unique(ends, axis=0, return_index=True, return_inverse=True)
        lanes = np.bincount(piece.ravel(), weights=roads.lanes)
        for k, (a, b) in enumerate(pairs.tolist()):
            street = names.setdefault(roads.streets[roads.street_of[first[k]]], len(names))
            begin, end = (float(lat[a]), float(lon[a])), (float(lat[b]), float(lon[b]))
            lines.append((street, int(lanes[k]), *begin, *end))
    stalls = Stalls(
        id=[spot.id for spot in spots.spots],
        lat=[spot.lat for spot in spots.spots],
        lon=[spot.lon for spot in spots.spots],
        bearing_deg=[round(spot.bearing_deg, 1) for spot in spots.spots],
        length_m=[round(spot.length_m, 1) for spot in spots.spots],
        street=[names.setdefault(spot.street, len(names)) for spot in spots.spots],
    )
    return CityDocument(spots.city, cities[0].attribution, list(names), lines, stalls)


def _put_city(s3: Any, bucket: str, document: CityDocument) -> None:
    s3.put_object(
        Bucket=bucket,
        Key=CITY_KEY,
        Body=msgspec.json.encode(document),
        ContentType=_TYPES[".json"],
        CacheControl=_REVALIDATE,
    )


def _metadata(s3: Any, bucket: str, key: str) -> Mapping[str, str]:
    """Of an object; empty when it is not there."""
    try:
        found: Mapping[str, str] = s3.head_object(Bucket=bucket, Key=key)["Metadata"]
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return {}
        raise
    return found


def _exists(s3: Any, bucket: str, key: str) -> bool:
    return bool(s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("KeyCount", 0))
