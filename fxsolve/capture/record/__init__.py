"""One real run of the program becomes a graph of raw ATen calls."""
