"""What is said of a baseline that this computer does not have."""


class BaselineAbsent(Exception):
    """A program of others that is not installed here. The message says how to get it."""
