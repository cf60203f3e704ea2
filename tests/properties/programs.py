"""Random programs: modules with loops, writes, views, branches, draws, scalar reads, growing lists and state."""

from hypothesis import strategies as st

from tests.properties.statements import STATEMENTS
from tests.properties.writer import HEAD, T, Writer


def _loop(w: Writer) -> None:
    head = w.pick(
        (
            f"for t in range({T}):",
            f"for t in range({T}):",
            f"for t in reversed(range({T})):",
            f"for t in range(1, {T}):",
            f"for t in range(0, {T}, 2):",
            f"for t in range({T} - 1, -1, -1):",
            "for t, x_t in enumerate(x.unbind(1)):",
            "for t in [3, 1, 4, 0, 5, 2]:",
        )
    )
    statements = w.draw(st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=4))

    def body(writer: Writer) -> None:
        for statement in statements:
            statement(writer)

    w.block(head, body)


def _pixels(w: Writer) -> None:
    """Rows and columns, each entry from entries written before."""
    value = w.pick(
        (
            "torch.tanh(h[:, 0] + 0.5 * buf[:, i, j - 1])",
            "torch.tanh(buf[:, i - 1, j] + x[:, i, j])",
            "torch.bernoulli(torch.sigmoid(buf.sum((1, 2)) * 0.1))",
            "torch.sigmoid(buf.view(2, -1) @ x.reshape(2, -1)[0])",
            "buf[:, i, j] * 0.5 + h[:, j] + torch.rand(2, dtype=x.dtype)",
        )
    )
    w.line("for i in range(4):")
    w.line("    for j in range(3):")
    if w.draw(st.booleans()):
        w.line("        h = torch.tanh(h + buf[:, i])")
    w.line(f"        buf[:, i, j] = {value}")


def _between(w: Writer) -> None:
    w.choose(
        (
            "g = h",
            "h = torch.zeros_like(h)",
            "x = torch.flip(x, (1,))",
            "outs = outs[::-1]",
            "buf = buf.clone() * 0.5",
            "x = torch.stack(outs, 1)[:, [0] * 6] if outs else x",
            "h = h + torch.rand_like(h)",
            "buf = buf.transpose(0, 1).contiguous().transpose(0, 1)",
            "self.state.mul_(0.5).add_(h.detach())",
            "h = h + self.state",
            "h = torch.tanh(h + seq.sum(1))",
            "seq = torch.stack(outs, 1) if outs else seq",
            "self.h = h.detach()",
            "h = torch.tanh(h.t().contiguous().t())",
            "pass",
        )
    )


_RESULTS = (
    "h",
    "g",
    "seq",
    "(seq[:, -1], seq.shape[1], h)",
    "buf",
    "(h, buf)",
    "{'h': h, 'outs': outs}",
    "torch.stack(outs, 1) if outs else h",
    "torch.cat(outs, -1) if outs else (h, g)",
    "(outs[-1], outs[0]) if outs else buf.sum(1)",
    "(h, torch.stack(outs).flip(0) if outs else None, buf)",
    "(sum(outs, h), buf[:, 2])",
    "(x, h, s)",
)


def _whole_backward(w: Writer) -> None:
    """The gradient of a loop over time by the input of the program."""
    update = w.pick(
        (
            "h = torch.tanh(h @ self.w + x[:, t])",
            "h = torch.sigmoid(self.layers[t](h) * x[:, t])",
            "g, h = h, torch.tanh(0.5 * h + 0.2 * g + x[:, t])",
            "h = torch.tanh(F.dropout(h, 0.2) + x[:, t])",
        )
    )
    w.line("with torch.enable_grad():")
    w.line("    x = x.detach().clone().requires_grad_()")
    w.line(f"    for t in range({T}):")
    w.line(f"        {update}")
    w.line("        outs.append(h)")
    w.line("    x = torch.autograd.grad(torch.stack(outs).square().sum(), x)[0]")
    w.line("outs = [out.detach() for out in outs]")
    w.line("h, g = h.detach(), g.detach()")


@st.composite
def sources(draw: st.DrawFn) -> str:
    """The source text of a module `Program` whose `forward` takes x (B, T, N)."""
    w = Writer(draw, depth=1)
    w.line("def forward(self, x):")
    w.depth = 2
    first = w.pick(("torch.zeros_like(x[:, 0])", "torch.tanh(x[:, 0])", "x.new_ones(2, 3)", "x[:, -1]"))
    w.line(f"h, g, outs, s = {first}, x[:, 1], [], 0.5")
    w.line(f"seq = {w.pick(('x[:, :1]', 'torch.zeros_like(x[:, :2])', 'x'))}")
    if w.integer(0, 3) == 0:
        w.line("h = h if self.h is None else self.h")
    w.line(f"buf = {w.pick(('torch.zeros_like(x)', 'x.clone()', 'x.new_zeros(2, 6, 3)', 'torch.full_like(x, 0.1)'))}")
    for number in range(draw(st.integers(1, 3))):
        if number:
            _between(w)
        w.draw(st.sampled_from((*[_loop] * 6, _whole_backward, _pixels)))(w)
    if w.integer(0, 15) == 0:
        w.line(w.pick(("x[:, 0] = h", "x.mul_(0.5)", "self.state.copy_(h)")))
    if w.integer(0, 3) == 0:
        w.line(w.pick(("self.h = h", "self.h = h.detach()", "self.h = h.detach().clone()", "self.h = h * 0.5")))
    w.line(f"return {w.pick(_RESULTS)}")
    return HEAD + "\n" + "\n".join(w.lines) + "\n"
