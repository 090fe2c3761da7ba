"""The reference of `keychorus bench secure-aggregation`: Flower's SecAgg+, in an environment of its own."""
