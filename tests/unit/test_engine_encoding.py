"""Telemetry in its three encodings says the same; Protobuf as the official library reads it."""

import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

import fleet_sim.contract
from fleet_sim.contract import Telemetry
from fleet_sim.engine.encoding import Encoding, encoder
from fleet_sim.engine.preflight import PreflightError, check_encodings
from fleet_sim.scenario import loads
from fleet_sim.world import Observation

SCHEMA = Path(fleet_sim.contract.__file__).parent / "telemetry.proto"
VINS = [f"0FSTRK00XTA{i:06}" for i in range(40)]
TS = 1_780_000_000_123


def senses(k: int) -> Observation:
    rng = np.random.default_rng(3)
    return Observation(
        lat=rng.uniform(-80, 80, k),
        lon=rng.uniform(-180, 180, k),
        acc_m=rng.uniform(0, 30, k) * (np.arange(k) % 3 > 0),
        fix=rng.integers(0, 3, k).astype(np.int8),
        speed_mps=rng.uniform(0, 30, k) * (np.arange(k) % 2),
        heading_deg=rng.uniform(0, 360, k),
        soc=rng.uniform(0, 1, k),
        mode=rng.integers(0, 3, k).astype(np.int8),
        odo_km=rng.uniform(0, 9e4, k),
        range_cm=rng.integers(0, 1000, (k, 20)).astype(np.int16),
        sonar_ok=rng.random(k) < 0.5,
    )


def payloads(encoding: Encoding, k: int = len(VINS)) -> list[bytes]:
    return encoder(encoding, "r1", dict.fromkeys(VINS, "1.2.3"))(
        VINS[:k], range(1, k + 1), TS, senses(k)
    )


def library() -> type[Any]:
    """The message class that the official library makes of the schema's text."""
    kinds = descriptor_pb2.FieldDescriptorProto
    scalar = {
        name: getattr(kinds, f"TYPE_{name.upper()}")
        for name in ("string", "bytes", "fixed32", "fixed64", "double", "float", "uint32")
    }
    file = descriptor_pb2.FileDescriptorProto(
        name="telemetry.proto", package="fleet_sim", syntax="proto3"
    )
    text = re.sub(r"//.*", "", SCHEMA.read_text())
    blocks = re.findall(r"(enum|message) (\w+) \{(.*?)\}", text, re.DOTALL)
    enums = {name for kind, name, _ in blocks if kind == "enum"}
    for kind, name, block in blocks:
        if kind == "enum":
            made = file.enum_type.add(name=name)
            for value, number in re.findall(r"(\w+) = (\d+);", block):
                made.value.add(name=value, number=int(number))
            continue
        message = file.message_type.add(name=name)
        for type_, field, number in re.findall(r"(\w+) (\w+) = (\d+);", block):
            added = message.field.add(name=field, number=int(number), label=kinds.LABEL_OPTIONAL)
            if type_ in scalar:
                added.type = scalar[type_]
            else:
                added.type = kinds.TYPE_ENUM if type_ in enums else kinds.TYPE_MESSAGE
                added.type_name = f".fleet_sim.{type_}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("fleet_sim.Telemetry"))


def test_json_and_messagepack_are_the_contract() -> None:
    json = [msgspec.json.decode(p, type=Telemetry) for p in payloads("json")]
    packed = [msgspec.msgpack.decode(p, type=Telemetry) for p in payloads("msgpack")]
    assert packed == json
    assert [message.seq for message in json] == list(range(1, len(VINS) + 1))
    assert {message.sonar is None for message in json} == {True, False}


def test_protobuf_is_what_the_official_library_reads() -> None:
    message_class = library()
    modes = ["driving", "parked", "charging"]
    for data, payload in zip(payloads("json"), payloads("protobuf"), strict=True):
        expected = msgspec.json.decode(data, type=Telemetry)
        read = message_class.FromString(payload)
        for name in ("run", "vin", "seq", "ts", "lat", "lon", "fix", "odo_km", "fw"):
            assert getattr(read, name) == getattr(expected, name), name
        for name in ("speed_mps", "heading_deg", "soc", "acc_m"):  # 32 bits
            assert getattr(read, name) == np.float32(getattr(expected, name)), name
        assert modes[read.mode] == expected.mode
        assert read.HasField("sonar") == (expected.sonar is not None)
        if expected.sonar is not None:
            assert (read.sonar.side, read.sonar.rate_hz) == (1, expected.sonar.rate_hz)
            assert np.frombuffer(read.sonar.range_cm, "<u2").tolist() == expected.sonar.range_cm
        # Nothing in it that the schema does not know.
        assert message_class.FromString(read.SerializeToString()) == read
        read.DiscardUnknownFields()
        assert message_class.FromString(payload) == read


def test_the_schema_has_every_field_of_the_contract_and_no_other() -> None:
    fields = [field.name for field in library().DESCRIPTOR.fields]
    assert set(fields) == set(Telemetry.__struct_fields__)
    burst = library().DESCRIPTOR.fields_by_name["sonar"].message_type
    assert {field.name for field in burst.fields} == {"side", "rate_hz", "range_cm"}


def test_binary_encodings_are_smaller() -> None:
    json, packed, protobuf = (
        sum(map(len, payloads(encoding))) for encoding in ("json", "msgpack", "protobuf")
    )
    assert packed < 0.9 * json
    assert protobuf < 0.6 * json


def test_the_cloud_reads_json_alone() -> None:
    text = """
name: x
fleet:
  - {group: a, count: 1}
  - {group: b, count: 1, telemetry: {encoding: ENCODING}}
phases: [{name: p, duration: 1s}]
"""
    binary = loads(text.replace("ENCODING", "protobuf"))
    for target in ("embedded", "mqtt://localhost:1883", "mqtts://localhost"):
        check_encodings(binary, target, "x.yaml")
    check_encodings(loads(text.replace("ENCODING", "json")), "local", "x.yaml")
    for target in ("local", "aws"):
        with pytest.raises(PreflightError) as caught:
            check_encodings(binary, target, "x.yaml")
        assert str(caught.value) == (
            "x.yaml: fleet[1].telemetry.encoding: 'protobuf' is not allowed with --target "
            f"{target} (allowed: json; or a broker, such as --broker embedded)"
        )


def test_a_text_too_long_for_the_short_length_is_refused() -> None:
    with pytest.raises(ValueError, match="text of 200 bytes"):
        encoder("protobuf", "r1", {VINS[0]: "x" * 200})
