"""Keychorus' front door: one command that loads each folder's commands only when asked for."""
