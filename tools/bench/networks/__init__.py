"""Networks that the benchmarks alone use."""
