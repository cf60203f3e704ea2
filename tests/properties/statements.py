"""Statements of the loop bodies of random programs."""

from hypothesis import strategies as st

from tests.properties.expressions import DRAWS, expression, update
from tests.properties.writer import Writer


def _step(w: Writer) -> None:
    w.line(f"h = {update(w)}")


def _two_steps_back(w: Writer) -> None:
    w.line(f"g, h = h, {update(w)}")


def _append(w: Writer) -> None:
    w.choose(("outs.append(h)", "outs.append(h * 2)", "outs.append(h + x[:, {t}])", "outs.append(h.clone())"))


def _write_entry(w: Writer) -> None:
    w.choose(
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
        ),
        v=expression(w),
    )


def _read_buffer(w: Writer) -> None:
    w.choose(
        (
            "h = torch.tanh(h + buf.sum(1))",
            "h = torch.tanh(h + torch.einsum('k,bkn->bn', self.mask[{t}], buf))",
            "h = torch.tanh(h + buf[:, {t} - 1])",
            "h = h * 0.5 + buf[:, :{t}].sum(1) * 0.1",
            "h = torch.tanh(buf.mean((1, 2))[:, None] + h)",
        )
    )


def _write_state(w: Writer) -> None:
    w.line("h = h.clone()")
    w.choose(
        (
            "h.add_({v}).tanh_()",
            "h[:, 1] = ({v})[:, 0]",
            "h[:, [0, 2]] = ({v})[:, [1, 0]]",
            "h[:, {t} % 3] = ({v})[:, 1]",
            "h[h > 0.2] = 0.1",
            "h.mul_(0.5)[:, 0].add_(0.25)",
            "h.t()[0].copy_(({v})[:, 2])",
            "h.clamp_(-0.6, 0.6)",
            "h.fill_(0.3).sub_(torch.sin({v}))",
            "h[:1], h[1:] = h[1:].clone(), h[:1].clone()",
        ),
        v=expression(w, 1),
    )


def _draw_numbers(w: Writer) -> None:
    w.line(f"h = torch.tanh(h + {w.pick(DRAWS).format(a='h')})")


def _branch(w: Writer) -> None:
    condition = w.pick(("{t} == 0", "{t} > 0", "{t} % 2 == 0", "{t} < 3", "{t} != 4")).format(t=w.t)
    w.block(f"if {condition}:", _simple)
    if w.draw(st.booleans()):
        w.block("else:", _simple)


def _read_scalar(w: Writer) -> None:
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


def _use_scalar(w: Writer) -> None:
    w.choose(("h = h * (self.w[0, 0].item() + 0.5)", "s = float(x[0, 0, 0] > 0)", "s = s + 0.1"))


def _layer(w: Writer) -> None:
    w.choose(
        (
            "h = torch.tanh(self.layers[{t}](h))",
            "h = h + 0.1 * self.layers[{t}](torch.relu(h))",
            "h = torch.sigmoid(self.layers[0](h) + x[:, {t}])",
        )
    )


def _gradient(w: Writer) -> None:
    v, e = w.name("v"), w.name("e")
    energy = w.pick(
        ("torch.tanh({v} @ self.w)", "({v} * h).sin()", "{v} ** 2 * x[:, {t}]", "self.layers[1]({v}).tanh()")
    )
    w.line("with torch.enable_grad():")
    w.line(f"    {v} = h.detach().clone().requires_grad_()")
    w.line(f"    {e} = ({energy.format(v=v, t=w.t)}).sum()")
    w.line(f"    h = torch.tanh(h.detach() - 0.3 * torch.autograd.grad({e}, {v})[0])")


def _without_gradients(w: Writer) -> None:
    w.block("with torch.no_grad():", _step)
    w.choose(("h = h + x[:, {t}]", "h = torch.tanh(h @ self.w)", "g = h + g"))


def _inner_loop(w: Writer) -> None:
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


def _grow(w: Writer) -> None:
    w.choose(
        (
            "seq = torch.cat([seq, h[:, None]], 1)",
            "seq = torch.cat([seq, h.unsqueeze(1)], dim=1)",
            "seq = torch.cat((h[:, None], seq), 1)",
            "seq = torch.cat([seq, torch.stack([h, g], 1)], 1)",
            "outs.append(h)",
        )
    )


def _read_grown(w: Writer) -> None:
    w.choose(
        (
            "h = torch.tanh(seq[:, -1] + x[:, {t}])",
            "h = torch.tanh(h + seq[:, -2:].sum(1))",
            "h = torch.tanh(h + seq[:, 0])",
            "h = torch.tanh(h + seq.sum(1))",
            "h = torch.tanh(h - seq.mean(1))",
            "h = torch.tanh(h * seq.amax(1))",
            "h = torch.tanh(h + (torch.softmax((seq * h[:, None]).sum(-1), -1)[..., None] * seq).sum(1))",
            "h = torch.tanh(h + torch.stack([h, *outs], 1).mean(1))",
            "h = torch.tanh(torch.cat([*outs, h], 0)[-2:] + x[:, {t}])",
            "h = torch.tanh(F.linear(seq, self.w)[:, -1] + h)",
        )
    )


def _grow_and_read(w: Writer) -> None:
    _grow(w)
    _read_grown(w)


def _keep(w: Writer) -> None:
    w.choose(("self.h = h", "self.h = h.detach()", "self.h = torch.tanh(h + (0.0 if self.h is None else self.h))"))


def _recall(w: Writer) -> None:
    w.choose(("h = h if self.h is None else torch.tanh(h + self.h)", "h = h + (0.0 if self.h is None else self.h)"))


SIMPLE = (_step, _two_steps_back, _write_entry, _draw_numbers, _layer, _write_state)
STATEMENTS = (
    *SIMPLE,
    _step,
    _append,
    _append,
    _write_entry,
    _read_buffer,
    _branch,
    _read_scalar,
    _use_scalar,
    _gradient,
    _without_gradients,
    _inner_loop,
    _grow,
    _read_grown,
    _grow_and_read,
    _keep,
    _recall,
)


def _simple(w: Writer) -> None:
    w.draw(st.sampled_from(SIMPLE))(w)
