"""Benchmarks: ours and a reference, measured in turn in the same run."""
