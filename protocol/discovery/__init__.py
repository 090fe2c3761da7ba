"""New words by private federated discovery: prefixes that grow level by level, by votes that are only ever summed."""
