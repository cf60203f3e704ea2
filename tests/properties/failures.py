"""Bodies of `forward(self, x)` that the fuzzer found to fail, in the order in which they were found."""

FAILURES = {
    # Transposed weights, computed in a loop of their own, came back contiguous: another matrix product.
    "strides of values that cross from one loop to the next": """
        h, outs = x[:, -1], []
        for t in range(6):
            h = torch.tanh(self.layers[t](h) * torch.rand_like(h)) @ self.layers[t].weight.sin().t()
            outs.append(h)
        return torch.stack(outs)
    """,
    # gather and index_select take no negative index, select does.
    "entries counted from the end, batched": """
        h = x[:, 0]
        for t in range(6):
            h = torch.tanh((x.roll(1, 0) * h[:, None])[:, t - 1])
        return h
    """,
    # A later sum adds up in the order of memory.
    "strides of single steps of a loop": """
        h, outs = x[:, -1].t(), []
        for t in range(6):
            h = torch.tanh(h * 0.7 + x[:, t].t())
            outs.append(h)
        return outs[2].t() @ outs[3], outs[2], outs[0].sum(), outs[1].stride()
    """,
}
