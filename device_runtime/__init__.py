"""What runs on the phone, the Raspberry Pi or the desk: log, train, suggest. Never TensorFlow, never the service."""
