"""Benchmarks that need a fleet: `keychorus bench fleet`."""
