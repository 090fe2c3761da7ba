"""Three suggestions a keystroke: the model's, made personal, without what an operator blocks."""
