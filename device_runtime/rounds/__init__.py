"""A device's part in a round: check in, configure, train, report, one persisted step at a time."""
