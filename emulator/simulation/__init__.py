"""The second opinion: the same model and rounds as a learning process of TensorFlow Federated."""
