"""Random programs as source text: modules with loops, writes, views, branches, draws and scalar reads."""

import linecache
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from textwrap import dedent, indent

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

B, T, N = 2, 6, 3  # x is (B, T, N), every state (B, N), every buffer (B, T, N)

HEAD = f"""
import torch
import torch.nn.functional as F
from torch import nn

class Program(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear({N}, {N}) for _ in range({T})])
        self.w = nn.Parameter(torch.randn({N}, {N}) / {N})
        self.register_buffer("order", torch.randperm({T}))
        self.register_buffer("mask", torch.tril(torch.ones({T}, {T}), -1))
        self.register_buffer("state", torch.zeros({B}, {N}))
"""

_files = count()


def build(source: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The module that `source` describes, always with the same weights."""
    torch.manual_seed(0)
    name = f"<program {next(_files)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace: dict[str, type[nn.Module]] = {}
    exec(compile(source, name, "exec"), namespace)
    return namespace["Program"]().to(dtype)


def inputs(seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """An input of every program."""
    return torch.randn(B, T, N, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


@dataclass
class _Writer:
    """Source lines under construction, at an indentation; `t` is the index of the innermost loop over time."""

    draw: st.DrawFn
    lines: list[str] = field(default_factory=list)
    depth: int = 2
    t: str = "t"
    fresh: int = 0

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def block(self, head: str, write: Callable[["_Writer"], None]) -> None:
        self.line(head)
        self.depth += 1
        write(self)
        self.depth -= 1

    def pick(self, items: Sequence[str]) -> str:
        return self.draw(st.sampled_from(items))

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def name(self, stem: str) -> str:
        self.fresh += 1
        return f"{stem}{self.fresh}"


# Expressions: every one is a (B, N) tensor.

_UNARY = (
    "torch.tanh({a})",
    "torch.sin({a})",
    "torch.sigmoid({a})",
    "torch.relu({a})",
    "-{a}",
    "{a}.abs()",
    "F.softmax({a}, -1)",
    "{a}.cumsum(-1) / 3",
    "{a}.flip(-1)",
    "{a}.roll(1, -1)",
    "{a}[:, [1, 2, 0]]",
    "{a}.t().contiguous().t()",
    "{a} @ self.w",
    "F.linear({a}, self.w)",
    "{a} - {a}.mean(-1, keepdim=True)",
    "F.layer_norm({a}, (3,))",
    "{a}.clamp(-0.7, 0.8)",
    "{a}.unsqueeze(1).expand(2, 2, 3).sum(1) / 2",
    "{a}[:, :1].expand(2, 3)",
    "{a}.view(3, 2).t().reshape(2, 3)",
    "torch.cat([{a}[:, 1:], {a}[:, :1]], -1)",
    "{a}.sort(-1).values",
    "{a}.detach().double().to({a}.dtype)",
    "torch.einsum('bi,ij->bj', {a}, self.w)",
)
_BINARY = (
    "{a} + {b}",
    "{a} - 0.5 * {b}",
    "{a} * {b}",
    "torch.maximum({a}, {b})",
    "torch.where({a} > 0.1, {a}, {b})",
    "torch.lerp({a}, {b}, 0.3)",
    "torch.addcmul({a}, {a}, {b}, value=0.2)",
    "torch.stack([{a}, {b}]).mean(0)",
    "torch.atan2({a}, {b} + 3)",
    "{a}.masked_fill({b} > 0.4, 0.25)",
    "torch.bmm({a}.unsqueeze(2), {b}.unsqueeze(1)).sum(1) / 3",
)
_DRAWS = (
    "torch.rand_like({a})",
    "0.1 * torch.randn(2, 3, dtype={a}.dtype)",
    "torch.rand(2, 3, dtype={a}.dtype)",
    "torch.bernoulli(torch.sigmoid({a}))",
    "torch.multinomial(F.softmax({a}, -1), 1).to({a}.dtype).expand(2, 3)",
    "F.one_hot(torch.multinomial(F.softmax({a}, -1), 1)[:, 0], 3).to({a}.dtype)",
    "F.dropout({a}, 0.3)",
    "torch.normal({a}, 0.1 * torch.ones_like({a}))",
    "torch.randint(0, 3, (2, 3)).to({a}.dtype) / 3",
    "torch.distributions.Normal({a}, 0.5).sample()",
    "torch.empty_like({a}).uniform_(-1, 1)",
)


def _operand(w: _Writer) -> str:
    return w.pick(("h", "g", f"x[:, {w.t}]", "h", f"buf[:, {w.t}]", f"buf[:, {w.t} - 1]", "s * 0.1 + h"))


def _expression(w: _Writer, depth: int = 2) -> str:
    kind = w.integer(0, 9)
    if depth == 0 or kind == 0:
        return _operand(w)
    if kind <= 5:
        return "(" + w.pick(_UNARY).format(a=_expression(w, depth - 1)) + ")"
    return "(" + w.pick(_BINARY).format(a=_expression(w, depth - 1), b=_expression(w, depth - 1)) + ")"


def _update(w: _Writer) -> str:
    """An expression that keeps states bounded."""
    return w.pick(("torch.tanh({e})", "0.5 * h + 0.1 * torch.sin({e})", "torch.tanh({e} + x[:, {t}])")).format(
        e=_expression(w), t=w.t
    )


# Statements of a loop body.


def _step(w: _Writer) -> None:
    w.line(f"h = {_update(w)}")


def _two_steps_back(w: _Writer) -> None:
    w.line(f"g, h = h, {_update(w)}")


def _append(w: _Writer) -> None:
    w.line(w.pick(("outs.append(h)", "outs.append(h * 2)", f"outs.append(h + x[:, {w.t}])", "outs.append(h.clone())")))


def _write_entry(w: _Writer) -> None:
    value = _expression(w)
    template = w.pick(
        (
            "buf[:, {t}] = {v}",
            "buf[:, {t}].copy_({v})",
            "buf[:, {t}].add_({v})",
            "buf.select(1, {t}).mul_(0.5).add_(torch.tanh({v}))",
            "buf.view(2, -1)[:, {t}] = ({v})[:, 1]",
            "buf[:, {t}, 1] = ({v})[:, 0]",
            "buf[0, {t}] = ({v})[1]",
            "buf.narrow(1, {t}, 1).copy_(({v}).unsqueeze(1))",
            "buf[..., {t}, :2] = ({v})[..., 1:]",
            "buf[:, self.order[{t}]] = {v}",
            "buf = buf.index_copy(1, self.order[{t}:{t} + 1], ({v}).unsqueeze(1))",
            "buf.transpose(0, 1)[{t}] = {v}",
        )
    )
    w.line(template.format(t=w.t, v=value))


def _read_buffer(w: _Writer) -> None:
    template = w.pick(
        (
            "h = torch.tanh(h + buf.sum(1))",
            "h = torch.tanh(h + torch.einsum('k,bkn->bn', self.mask[{t}], buf))",
            "h = torch.tanh(h + buf[:, {t} - 1])",
            "h = h * 0.5 + buf[:, :{t}].sum(1) * 0.1",
            "h = torch.tanh(buf.mean((1, 2))[:, None] + h)",
        )
    )
    w.line(template.format(t=w.t))


def _write_state(w: _Writer) -> None:
    w.line("h = h.clone()")
    value = _expression(w, 1)
    template = w.pick(
        (
            "h.add_({v}).tanh_()",
            "h[:, 1] = ({v})[:, 0]",
            "h[:, {t} % 3] = ({v})[:, 1]",
            "h[h > 0.2] = 0.1",
            "h.mul_(0.5)[:, 0].add_(0.25)",
            "h.t()[0].copy_(({v})[:, 2])",
            "h.clamp_(-0.6, 0.6)",
            "h.fill_(0.3).sub_(torch.sin({v}))",
            "h[:1], h[1:] = h[1:].clone(), h[:1].clone()",
        )
    )
    w.line(template.format(t=w.t, v=value))


def _draw_numbers(w: _Writer) -> None:
    w.line(f"h = torch.tanh(h + {w.pick(_DRAWS).format(a='h')})")


def _branch(w: _Writer) -> None:
    condition = w.pick(("{t} == 0", "{t} > 0", "{t} % 2 == 0", "{t} < 3", "{t} != 4")).format(t=w.t)
    w.block(f"if {condition}:", _simple)
    if w.draw(st.booleans()):
        w.block("else:", _simple)


def _read_scalar(w: _Writer) -> None:
    template = w.pick(
        (
            "if h.sum() > 100.0:",
            "if torch.all(h.abs() < 50):",
            "if h[0, 0].item() > 0.3:",
            "if bool((x[:, {t}] > -9).all()):",
            "if not torch.isfinite(h).all():",
        )
    )
    w.block(template.format(t=w.t), _step)


def _use_scalar(w: _Writer) -> None:
    w.line(w.pick(("h = h * (self.w[0, 0].item() + 0.5)", "s = float(x[0, 0, 0] > 0)", "s = s + 0.1")))


def _layer(w: _Writer) -> None:
    w.line(
        w.pick(
            (
                "h = torch.tanh(self.layers[{t}](h))",
                "h = h + 0.1 * self.layers[{t}](torch.relu(h))",
                "h = torch.sigmoid(self.layers[0](h) + x[:, {t}])",
            )
        ).format(t=w.t)
    )


def _gradient(w: _Writer) -> None:
    v, e = w.name("v"), w.name("e")
    energy = w.pick(
        ("torch.tanh({v} @ self.w)", "({v} * h).sin()", "{v} ** 2 * x[:, {t}]", "self.layers[1]({v}).tanh()")
    )
    w.line("with torch.enable_grad():")
    w.line(f"    {v} = h.detach().clone().requires_grad_()")
    w.line(f"    {e} = ({energy.format(v=v, t=w.t)}).sum()")
    w.line(f"    h = torch.tanh(h.detach() - 0.3 * torch.autograd.grad({e}, {v})[0])")


def _inner_loop(w: _Writer) -> None:
    k = w.name("k")
    trips = w.integer(2, 4)
    body = w.pick(
        (
            "h = torch.tanh(h * 0.9 + x[:, {k}])",
            "h = 0.5 * h + 0.1 * torch.sin(h + x[:, {t}])",
            "h = torch.tanh(self.layers[{k}](h))",
            "buf[:, {t}, {k} % 3] = torch.tanh(h[:, 0] + buf[:, {t}, {k} % 3 - 1])",
            "h = torch.tanh(h + torch.rand_like(h))",
        )
    )
    w.line(f"for {k} in range({trips}):")
    w.line("    " + body.format(k=k, t=w.t))


_SIMPLE = (_step, _two_steps_back, _write_entry, _draw_numbers, _layer, _write_state)
_STATEMENTS = (
    *_SIMPLE,
    _step,
    _append,
    _append,
    _write_entry,
    _read_buffer,
    _branch,
    _read_scalar,
    _use_scalar,
    _gradient,
    _inner_loop,
)


def _simple(w: _Writer) -> None:
    w.draw(st.sampled_from(_SIMPLE))(w)


def _loop(w: _Writer) -> None:
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
    statements = w.draw(st.lists(st.sampled_from(_STATEMENTS), min_size=1, max_size=4))

    def body(writer: _Writer) -> None:
        for statement in statements:
            statement(writer)

    w.block(head, body)


def _pixels(w: _Writer) -> None:
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


def _between(w: _Writer) -> None:
    w.line(
        w.pick(
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
                "h = torch.tanh(h.t().contiguous().t())",
                "pass",
            )
        )
    )


_RESULTS = (
    "h",
    "g",
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


def _whole_backward(w: _Writer) -> None:
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


def module_of(body: str) -> str:
    """The source of a module whose `forward(self, x)` has this body."""
    return HEAD + "\n    def forward(self, x):\n" + indent(dedent(body).strip("\n"), " " * 8) + "\n"


@st.composite
def sources(draw: st.DrawFn) -> str:
    """The source text of a module `Program` whose `forward` takes x (B, T, N)."""
    w = _Writer(draw, depth=1)
    w.line("def forward(self, x):")
    w.depth = 2
    first = w.pick(("torch.zeros_like(x[:, 0])", "torch.tanh(x[:, 0])", "x.new_ones(2, 3)", "x[:, -1]"))
    w.line(f"h, g, outs, s = {first}, x[:, 1], [], 0.5")
    w.line(f"buf = {w.pick(('torch.zeros_like(x)', 'x.clone()', 'x.new_zeros(2, 6, 3)', 'torch.full_like(x, 0.1)'))}")
    for number in range(draw(st.integers(1, 3))):
        if number:
            _between(w)
        w.draw(st.sampled_from((*[_loop] * 6, _whole_backward, _pixels)))(w)
    if w.integer(0, 15) == 0:
        w.line(w.pick(("x[:, 0] = h", "x.mul_(0.5)", "self.state.copy_(h)")))
    w.line(f"return {w.pick(_RESULTS)}")
    return HEAD + "\n" + "\n".join(w.lines) + "\n"
