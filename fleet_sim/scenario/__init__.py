"""A scenario: what a user writes in YAML, as frozen structs, or a list of what is wrong with it."""

from fleet_sim.scenario.catalog import Catalog
from fleet_sim.scenario.check import CheckThreshold, check
from fleet_sim.scenario.dumping import dump
from fleet_sim.scenario.loading import load, loads
from fleet_sim.scenario.model import (
    DEFAULT_OCCUPANCY,
    BrokerFault,
    City,
    Clock,
    Fault,
    GeneratedCity,
    Parking,
    ParkingEvent,
    Phase,
    RadioFault,
    Scenario,
    TelemetrySettings,
    VehicleGroup,
)
from fleet_sim.scenario.mqtt import Mqtt, TlsOptions, Will
from fleet_sim.scenario.problems import Problem, ScenarioError
from fleet_sim.scenario.resizing import scale_fleet, with_duration
from fleet_sim.scenario.schema import json_schema
from fleet_sim.scenario.starter import starter_text, write_starter
from fleet_sim.scenario.threshold import Threshold
from fleet_sim.scenario.units import ByteSize, Duration, Fraction, Length, Speed, dec_hook, enc_hook

__all__ = [
    "DEFAULT_OCCUPANCY",
    "BrokerFault",
    "ByteSize",
    "Catalog",
    "CheckThreshold",
    "City",
    "Clock",
    "Duration",
    "Fault",
    "Fraction",
    "GeneratedCity",
    "Length",
    "Mqtt",
    "Parking",
    "ParkingEvent",
    "Phase",
    "Problem",
    "RadioFault",
    "Scenario",
    "ScenarioError",
    "Speed",
    "TelemetrySettings",
    "Threshold",
    "TlsOptions",
    "VehicleGroup",
    "Will",
    "check",
    "dec_hook",
    "dump",
    "enc_hook",
    "json_schema",
    "load",
    "loads",
    "scale_fleet",
    "starter_text",
    "with_duration",
    "write_starter",
]
