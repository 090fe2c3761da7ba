"""The keyboard page: a local web page on which a person types, sees three suggestions, and rules what is logged."""
