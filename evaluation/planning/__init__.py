"""`keychorus plan`: what a fleet of a given size asks of the service, of its database, and of each device."""
