"""One blueprint a resource: thin, everything that decides lives below."""
