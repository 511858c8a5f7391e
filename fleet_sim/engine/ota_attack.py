"""What is served to vehicles: an honest repository of firmware, or one that is under attack."""

import datetime as dt
import hashlib
import json
from typing import NamedTuple

from fleet_sim.cloud.firmware import LIFE, Repository
from fleet_sim.scenario.campaign import FACTORY_VERSION, Attack, Campaign

OLD_VERSION = "0.9.0"
"""Of the signed image that a replay brings."""
INSTALLED, BROUGHT = 2, 3
"""Releases of what the fleet runs, whatever its version, and of the new image."""


class Served(NamedTuple):
    """What a vehicle gets from the URLs of its job."""

    bundle: bytes
    target: str
    version: str
    """What the job's document says."""
    release: int
    length: int
    """Bytes that come before the server says that there are no more; may not be what is signed."""
    sha256: str
    """Of what comes."""
    trust: dict[str, bytes]
    """What the vehicles know before the campaign."""


def serve(campaign: Campaign, model: str, now: dt.datetime) -> Served:
    """Publish the old and the new image; image bytes are counted, not made: `sha256` is that of a
    description. `now` is when the campaign begins."""
    image, attack = campaign.firmware, campaign.firmware.attack
    size = int(image.size)  # canonical JSON would write a ByteSize by its own name
    repository = Repository.create(now)
    old = f"{model}/{OLD_VERSION}-r1.img"
    here = f"{model}/{FACTORY_VERSION}-r{INSTALLED}.img"
    repository.publish(old, OLD_VERSION, None, now, length=size, sha256=_digest(old))
    repository.publish(here, FACTORY_VERSION, None, now, length=size, sha256=_digest(here))
    trust = {"root": repository.root}
    before = json.loads(repository.bundle())
    new = f"{model}/{image.version}-r{BROUGHT}.img"
    release = repository.publish(new, image.version, None, now, length=size, sha256=_digest(new))
    length, sha256 = size, _digest(new)
    target, version, bundle = new, image.version, repository.bundle()
    match attack:
        case "flipped_byte":
            sha256 = _digest(new + " with a byte flipped")
        case "wrong_key":
            other = Repository.create(now)
            other.publish(new, image.version, None, now, length=length, sha256=sha256)
            bundle = other.bundle()
        case "wrong_length":
            length -= 1
        case "endless_data":
            length *= 1_000
        case "replay":
            target, version = old, OLD_VERSION
            release, sha256 = 1, _digest(old)
        case "freeze":
            repository = Repository.create(now - 2 * LIFE["timestamp"])
            trust = {"root": repository.root}
            then = now - 2 * LIFE["timestamp"]
            repository.publish(new, image.version, None, then, length=length, sha256=sha256)
            bundle = repository.bundle()
        case "mix_and_match":
            mixed = json.loads(bundle)
            mixed["4.targets.json"] = before["3.targets.json"]
            bundle = json.dumps(mixed).encode()
        case "rollback":
            parts = json.loads(bundle)
            trust |= {
                "timestamp": parts["timestamp.json"].encode(),
                "snapshot": parts["4.snapshot.json"].encode(),
            }
            target, version, bundle = old, OLD_VERSION, json.dumps(before).encode()
            release, sha256 = 1, _digest(old)
    return Served(bundle, target, version, release, length, sha256, trust)


REASONS: dict[Attack, tuple[str, ...]] = {
    "flipped_byte": ("hash",),
    "wrong_key": ("signature",),
    "wrong_length": ("wrong length",),
    "endless_data": ("endless data",),
    "replay": ("replay",),
    "freeze": ("freeze",),
    "mix_and_match": ("mix and match",),
    "rollback": ("rollback",),
}
"""What a vehicle reports about each attack."""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
