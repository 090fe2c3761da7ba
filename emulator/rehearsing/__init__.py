"""A scenario, lived from its first device to its report."""
