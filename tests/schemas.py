"""Schemas as a writer must keep them."""

from __future__ import annotations

from typing import Any


def closed(schema: Any) -> Any:
    """The schema as a writer must keep it: nothing that it does not name."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(part) for name, part in schema.items()}
    return {**found, "additionalProperties": False} if "properties" in schema else found
