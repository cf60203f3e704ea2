"""What stands between a call of a compiled program and its emitted modules: signatures, recordings, the cache."""
