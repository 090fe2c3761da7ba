"""What a rehearsal of a whole fleet found: its report."""
