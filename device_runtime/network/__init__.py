"""HTTP to the service: every answer bounded and checked, every transfer stopped within a second."""
