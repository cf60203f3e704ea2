"""Expressions of random programs: every one is a (B, N) tensor."""

from tests.properties.writer import Writer

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
    "Spike.apply({a})",
    "({a} > 0).to({a}.dtype) + torch.tanh({a}) - torch.tanh({a}).detach()",
)
_BINARY = (
    "{a} + {b}",
    "{a} - 0.5 * {b}",
    "{a} * {b}",
    "{a} * {b}.detach()",
    "torch.maximum({a}, {b})",
    "torch.where({a} > 0.1, {a}, {b})",
    "torch.lerp({a}, {b}, 0.3)",
    "torch.addcmul({a}, {a}, {b}, value=0.2)",
    "torch.stack([{a}, {b}]).mean(0)",
    "torch.atan2({a}, {b} + 3)",
    "{a}.masked_fill({b} > 0.4, 0.25)",
    "torch.bmm({a}.unsqueeze(2), {b}.unsqueeze(1)).sum(1) / 3",
)
DRAWS = (
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


def _operand(w: Writer) -> str:
    return w.pick(("h", "g", f"x[:, {w.t}]", "h", f"buf[:, {w.t}]", f"buf[:, {w.t} - 1]", "s * 0.1 + h"))


def expression(w: Writer, depth: int = 2) -> str:
    kind = w.integer(0, 9)
    if depth == 0 or kind == 0:
        return _operand(w)
    if kind <= 5:
        return "(" + w.pick(_UNARY).format(a=expression(w, depth - 1)) + ")"
    return "(" + w.pick(_BINARY).format(a=expression(w, depth - 1), b=expression(w, depth - 1)) + ")"


def update(w: Writer) -> str:
    """An expression that keeps states bounded."""
    return w.pick(("torch.tanh({e})", "0.5 * h + 0.1 * torch.sin({e})", "torch.tanh({e} + x[:, {t}])")).format(
        e=expression(w), t=w.t
    )
