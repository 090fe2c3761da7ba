"""Rehearsals: rounds in one process, without network and fleet, that differ in one thing and share all others."""
