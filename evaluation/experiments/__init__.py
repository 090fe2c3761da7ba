"""Training in one process, central and federated, on anybody's text: which settings predict best."""
