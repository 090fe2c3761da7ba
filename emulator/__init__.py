"""Fleets of emulated devices: the real device runtime against the real service. Only surroundings are made up."""
