"""An AWS on this machine: IoT Core, Kinesis, Lambda, DynamoDB, S3, CloudFormation and more.

`LocalAws` starts it in a child process on free loopback ports; the rest of the project talks to
it through AWS's own APIs and MQTT, with the addresses in `Endpoints`, and knows nothing else of it.
"""

from fleet_sim.cloud.local._launcher import LocalAws
from fleet_sim.cloud.local._types import Endpoints, LocalAwsError

__all__ = ["Endpoints", "LocalAws", "LocalAwsError"]
