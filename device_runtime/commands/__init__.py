"""The commands of `keychorus device`, a file each."""
