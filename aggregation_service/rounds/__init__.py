"""The logic of rounds: values in, values out."""
