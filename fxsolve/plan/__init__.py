"""The choice of a method for every equation, from facts and measured costs."""
