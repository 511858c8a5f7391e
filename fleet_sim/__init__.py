"""fleet-sim: virtual vehicles with real physics over MQTT, and an audit that knows the truth."""

__version__ = "0.1.0"
