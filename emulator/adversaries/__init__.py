"""Devices of a fleet that do not keep to the plan, each kind in a file of its own."""

from emulator.adversaries.interface import HONEST, Adversary

__all__ = ["HONEST", "Adversary"]
