"""Secure aggregation: the service learns the sum of a group's updates and nothing of any one of them.

The protocol of Bonawitz et al. 2017 (arXiv 1611.04482) on the sparse graph of Bell et al. 2020 (eprint 2020/704).
"""
