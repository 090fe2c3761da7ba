"""Scenarios: what happens to a fleet and its service, as TOML files; a dozen are ready beside this file."""
