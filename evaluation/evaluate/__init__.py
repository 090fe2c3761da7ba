"""`keychorus evaluate`: one protocol for every predictor."""
