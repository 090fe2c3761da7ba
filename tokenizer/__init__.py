"""Words and ids: the one definition of word, sentence and target that logging, training and evaluation share."""
