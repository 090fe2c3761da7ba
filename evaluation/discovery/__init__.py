"""New words rehearsed: private discovery in one process, against the words that people really share."""
