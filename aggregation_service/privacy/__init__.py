"""Noise, ledger, accounting, statement: what makes a release private, and what is said about it."""
