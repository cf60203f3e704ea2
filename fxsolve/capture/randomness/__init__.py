"""The generators that random draws come from, and how they are put back."""
