"""Reasons in words that are the same for every vehicle they happen to, so that they count."""

import ssl

import mqtt5

_MAX_WORDS = 120


def code(reason_code: int) -> str:
    """`not authorized (0x87)`."""
    name = getattr(reason_code, "name", "")
    return f"{name.lower().replace('_', ' ')} (0x{int(reason_code):02x})"


def refusal(packet: mqtt5.ConnAckPacket, vin: str) -> str:
    """Why the broker refuses the vehicle `vin`, with the server that it names instead, if any."""
    words = f"refused by the broker: {code(packet.reason_code)}"
    if packet.server_reference:
        words += f", go to {packet.server_reference}"
    return words + _said(packet.reason_str, vin)


def goodbye(packet: mqtt5.DisconnectPacket, vin: str) -> str:
    """Why the broker ends the connection of the vehicle `vin`."""
    words = f"disconnected by the broker: {code(packet.reason_code)}"
    if packet.server_reference:
        words += f", go to {packet.server_reference}"
    return words + _said(packet.reason_str, vin)


def short_reason(error: BaseException) -> str:
    """Of an exception."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {error.reason}"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return f"{type(error).__name__}: {error}"


def _said(text: str | None, vin: str) -> str:
    """What the broker adds in its own words."""
    if not text:
        return ""
    plain = "".join(c if c.isprintable() else " " for c in text.replace(vin, "{vin}"))
    return f": {plain[:_MAX_WORDS]}"
