"""Values as RabbitMQ prints them in its error texts: clients and their tests compare those."""

from __future__ import annotations

__all__ = ["shown", "shown_bytes"]


def shown_bytes(raw: bytes) -> str:
    """A binary: as text where it can be, else as numbers."""
    if raw and all(32 <= byte < 127 or byte in b"\b\t\n\v\f\r\x1b" for byte in raw):
        inner = raw.decode("ascii").replace("\\", "\\\\").replace('"', '\\"')
        for sign, name in (("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"), ("\b", "\\b"), ("\v", "\\v"), ("\f", "\\f")):
            inner = inner.replace(sign, name)
        return f'<<"{inner}">>'
    return f"<<{','.join(str(byte) for byte in raw)}>>"


def shown(value: object) -> str:
    """A value inside the quotes of an error text: text as it is, the others as terms."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "undefined"
    if isinstance(value, bytes):
        return shown_bytes(value)
    if isinstance(value, (tuple, list)):
        inner = ",".join(shown(item) for item in value)
        return f"{{{inner}}}" if isinstance(value, tuple) else f"[{inner}]"
    return str(value)
