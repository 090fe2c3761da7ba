"""Surroundings of emulated devices: days and nights, machines of different speed, or a CSV file of one's own."""
