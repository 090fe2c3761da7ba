"""Secure aggregation: groups that members walk through stage by stage, and that the leader moves on."""
