"""Files and databases that survive kill -9, and keys that only this device has."""
