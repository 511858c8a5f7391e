"""What is served to vehicles: an honest repository of firmware, or one that is under attack."""

import datetime as dt
import hashlib
import json
from typing import NamedTuple

from fleet_sim.cloud.firmware import LIFE, Repository
from fleet_sim.scenario.campaign import FACTORY_VERSION, Campaign

OLD_VERSION = "0.9.0"
"""Of the signed image that a replay brings."""
ENDLESS = 20
"""Times the signed length, of data that does not end: a vehicle must not read so far."""
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
    content: bytes | None = None
    """What comes, where it is not only counted."""


def serve(campaign: Campaign, model: str, now: dt.datetime, sent: int | None = None) -> Served:
    """Publish the old and the new image. `now` is when the campaign begins. With `sent` an image
    has so many bytes; otherwise those that the campaign says, which are counted and not made:
    `sha256` is then that of a description."""
    image, attack = campaign.firmware, campaign.firmware.attack
    # Canonical JSON would write a ByteSize by its own name.
    size = int(image.size) if sent is None else sent
    repository = Repository.create(now)
    old = f"{model}/{OLD_VERSION}-r1.img"
    here = f"{model}/{FACTORY_VERSION}-r{INSTALLED}.img"
    new = f"{model}/{image.version}-r{BROUGHT}.img"
    contents = {name: _content(name, sent) for name in (old, here, new)}

    def publish(name: str, version: str) -> int:
        content = contents[name]
        if content is not None:
            return repository.publish(name, version, content, now)
        return repository.publish(name, version, None, now, length=size, sha256=_digest(name))

    publish(old, OLD_VERSION)
    publish(here, FACTORY_VERSION)
    trust = {"root": repository.root}
    before = json.loads(repository.bundle())
    release = publish(new, image.version)
    content = contents[new]
    length, sha256 = size, _digest_of(content, new)
    target, version, bundle = new, image.version, repository.bundle()
    match attack:
        case "flipped_byte":
            if content is not None:
                content = bytes([content[0] ^ 1]) + content[1:]
            sha256 = _digest_of(content, new + " with a byte flipped")
        case "wrong_key":
            other = Repository.create(now)
            other.publish(new, image.version, None, now, length=length, sha256=sha256)
            bundle = other.bundle()
        case "wrong_length":
            length -= 1
            content = content and content[:-1]
        case "endless_data":
            length *= ENDLESS
            content = content and content * ENDLESS
        case "replay":
            target, version = old, OLD_VERSION
            content = contents[old]
            release, sha256 = 1, _digest_of(content, old)
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
            content = contents[old]
            release, sha256 = 1, _digest_of(content, old)
    return Served(bundle, target, version, release, length, sha256, trust, content)


def _content(name: str, length: int | None) -> bytes | None:
    """Bytes that no two images share, the same each time."""
    return None if length is None else hashlib.shake_256(name.encode()).digest(length)


def _digest_of(content: bytes | None, text: str) -> str:
    return _digest(text) if content is None else hashlib.sha256(content).hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
