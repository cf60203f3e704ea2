"""What outlives a call: the places where Python keeps it, and what a run changes there."""
