"""Find the loops of a recorded graph, and write the graph as a system of equations."""
