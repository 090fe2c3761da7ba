"""When a device may train and use the network: idle, charging, unmetered, with battery left, and not hot."""

from device_runtime.conditions.interface import (
    AlwaysEligible,
    Conditions,
    ConditionsSource,
    NeverEligible,
    Reading,
    Unreadable,
    gather,
)

__all__ = ["AlwaysEligible", "Conditions", "ConditionsSource", "NeverEligible", "Reading", "Unreadable", "gather"]
