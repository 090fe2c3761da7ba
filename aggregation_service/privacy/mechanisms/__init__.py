"""Correlated noise: mechanisms whose noise of one round takes back part of that of the rounds before."""
