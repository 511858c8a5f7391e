"""What all structs of a scenario share: nothing unknown is taken, nothing changes afterwards."""

from typing import Annotated

import msgspec
from msgspec import Meta

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
NAME_RULE = "a name of letters, digits, '_', '.' and '-', at most 64"
Name = Annotated[str, Meta(pattern=NAME, extra={"allowed": NAME_RULE})]
VehicleName = Annotated[
    str, Meta(pattern=NAME, extra={"catalog": "vehicles", "allowed": NAME_RULE})
]
RadioName = Annotated[str, Meta(pattern=NAME, extra={"catalog": "radios", "allowed": NAME_RULE})]
ReceiverName = Annotated[
    str, Meta(pattern=NAME, extra={"catalog": "receivers", "allowed": NAME_RULE})
]
SensorName = Annotated[str, Meta(pattern=NAME, extra={"catalog": "sensors", "allowed": NAME_RULE})]
OwnVehicleName = Annotated[
    str, Meta(pattern=NAME, extra={"not_in": "vehicles", "allowed": NAME_RULE})
]
OwnRadioName = Annotated[str, Meta(pattern=NAME, extra={"not_in": "radios", "allowed": NAME_RULE})]
OwnReceiverName = Annotated[
    str, Meta(pattern=NAME, extra={"not_in": "receivers", "allowed": NAME_RULE})
]
OwnSensorName = Annotated[
    str, Meta(pattern=NAME, extra={"not_in": "sensors", "allowed": NAME_RULE})
]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all scenario structs."""
