"""Graph mathematics on integers: periods and slots of label sequences."""
