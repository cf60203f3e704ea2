"""Bodies of `forward(self, x)` that the fuzzer found to fail, in the order in which they were found."""

FAILURES = {
    # The weights that a backward pass reads are transposed in the forward pass, and came back contiguous.
    "strides of what a backward pass inside reads": """
        h, outs = torch.zeros_like(x[:, 0]), []
        with torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            for t in range(6):
                h = torch.sigmoid(self.layers[t](h) * x[:, t])
                outs.append(h)
            x = torch.autograd.grad(torch.stack(outs).square().sum(), x)[0]
        return x, h.detach()
    """,
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
    # torch.index_put takes no None among its indices, aten.index_put does.
    "entries written by lists of indices, and their gradients": """
        outs, buf = [], x.new_zeros(2, 6, 3)
        for t in range(6):
            h = torch.tanh(buf[:, t - 1] + x[:, t])[:, [1, 2, 0]]
            h[:, [0, 2]] = h[:, [1, 0]] * 0.5
            buf.transpose(0, 1)[t] = h
        return buf.sum(1)
    """,
    # Beside a write, a detached view of an input was the input itself, or wanted gradients as it does.
    "views of an input, detached, beside a write": """
        g, h = x[:, 1], x[:, 0]
        for t in range(6):
            h = torch.tanh(h + x[:, t])
        self.state.copy_(h.detach())
        return x.detach(), g.detach(), x.detach()[0].t(), h.detach()
    """,
    # Of a loop that reads nothing new the last value is a known one, and was taken for all of its steps.
    "the last of values that are known beforehand": """
        h, buf, y = x[:, 0], torch.zeros_like(x), x.clone()
        for t in range(6):
            h = torch.tanh(buf[:, t])
        y[:, 0] = h
        return y, h + x[:, 1]
    """,
}
