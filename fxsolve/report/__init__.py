"""What was found, chosen, rejected and measured, as data and as text, JSON or HTML."""
