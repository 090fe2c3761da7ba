"""A soak: many rounds, with the network cut and processes killed at random, and books that must add up in the end."""
