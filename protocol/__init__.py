"""What device and service must agree on: messages, manifests, checkpoints, updates. Bytes in, bytes out."""
