"""The keyboard page: a local web page on which a person types and sees three suggestions."""
