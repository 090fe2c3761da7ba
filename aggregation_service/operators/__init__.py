"""People who run the service: accounts, login, and what each role may do."""
