"""The groups of `keychorus service`, one module each."""
