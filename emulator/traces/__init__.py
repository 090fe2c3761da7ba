"""Surroundings of emulated devices: days and nights, machines of different speed, a CSV file of one's own, a phone."""
