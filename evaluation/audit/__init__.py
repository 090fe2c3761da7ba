"""Audits by attack: what an adversary finds in updates, sums and models, held against what is promised."""
