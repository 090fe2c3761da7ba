"""Releases: the gate in front of them, their publication, their staged roll-out and the way back."""
