"""The CIFG network, its TFLite export, pre-training and releases. The only folder that needs TensorFlow."""
