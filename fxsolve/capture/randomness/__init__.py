"""Random draws as inputs, and the generators that they come from."""
