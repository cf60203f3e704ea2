"""A raw record that writes into tensors becomes a graph that only makes new ones."""
