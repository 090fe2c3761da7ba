"""The report of `keychorus emulate soak`."""
