"""Rewrite the repeats of a system: reads in their simplest form, and each repeat in its parts."""
