"""Comparison: models and saved reports side by side, layer by layer, on the same inputs. No torch is imported here."""

from __future__ import annotations

from rankscope.comparison.records import SCHEMA, Comparison, Difference, First, Match, Pair, Subject

__all__ = ["SCHEMA", "Comparison", "Difference", "First", "Match", "Pair", "Subject"]
