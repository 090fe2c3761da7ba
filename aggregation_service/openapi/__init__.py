"""The HTTP API told as an OpenAPI 3.1 document: one table of routes, the messages' own types, an example of each."""
