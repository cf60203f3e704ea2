"""Programs that were wrong, refused or crashed."""

import functools
import itertools
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fxsolve
from fxsolve.capture.bits import same_bits


def steps(x: Tensor, h: Tensor) -> Tensor:
    for t in range(len(x)):
        h = torch.tanh(h + x[t])
    return h


def same(
    make: Callable[[], Any],
    inputs: Callable[[], tuple[Any, ...]],
    grad: bool = False,
    schedule: str = "gs",
) -> Any:
    """Both give the same bits, also of gradients, at four calls; returns the report."""
    torch.manual_seed(0)
    program = make()
    torch.manual_seed(0)
    again = make()
    compiled = fxsolve.compile(again, schedule=schedule, backend="eager")
    for k in range(4):
        results = []
        for run in (program, compiled):
            torch.manual_seed(k + 1)
            args = inputs()
            with torch.set_grad_enabled(grad):
                out = run(*args)
                if grad:
                    out.square().sum().backward()
            held = program if run is program else again
            own = [*held.parameters()] if isinstance(held, nn.Module) else []
            kept = [*held.buffers()] if isinstance(held, nn.Module) else []
            results.append(
                (
                    out.detach(),
                    [*torch.utils._pytree.tree_leaves(args), *kept],
                    [p.grad for p in own],
                )
            )
            for one in own:
                one.grad = None
        (a, b, c), (d, e, f) = results
        assert torch.equal(a, d), k
        assert len(b) == len(e), k
        assert all(
            torch.equal(x, y) and x.requires_grad == y.requires_grad if isinstance(x, Tensor) else x == y
            for x, y in zip(b, e, strict=True)
        ), k
        assert all(x is y or torch.equal(x, y) for x, y in zip(c, f, strict=True)), k
    return compiled.report()


def test_newton_on_steps_without_gradients_does_not_crash() -> None:
    code = """
        import torch, fxsolve
        from torch.nn import functional as F
        w = torch.eye(2)
        def nearest(x, c):
            for _ in range(10): c = F.one_hot((x[:, None] - c[None]).square().sum(-1).argmin(1), 3).float().T @ x
            return c
        def compared(x, c):
            for _ in range(10): c = (c > 0).float() @ w + x[:3]
            return c
        for program in (nearest, compared):
            compiled = fxsolve.compile(program, schedule="newton", backend="eager")
            with torch.no_grad(): compiled(torch.randn(20, 2), torch.randn(3, 2))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]


@pytest.mark.parametrize("classes", [(), (-1,), (4,)])
def test_of_classes_without_a_number_only_the_largest_is_read(classes: tuple[int, ...]):
    def program(x: Tensor, ids: Tensor) -> Tensor:
        h = torch.zeros_like(x)
        for t in range(6):
            h = torch.tanh(h + x * F.one_hot(ids[t], *classes))
        return h

    compiled = fxsolve.compile(program, schedule="gs", backend="eager")
    for k in range(5):
        ids = torch.full((6, 3), 3)
        ids[:, 0] = k % 3  # the smallest
        x = torch.randn(3, 4)
        assert torch.equal(compiled(x, ids), program(x, ids))
    assert compiled.report().status == "emitted"
    assert len(compiled.entries) == 1
    none = torch.zeros(6, 0, dtype=torch.int64)
    if classes == (4,):
        assert torch.equal(compiled(torch.zeros(0, 4), none), program(torch.zeros(0, 4), none))


def test_a_dict_among_the_arguments_is_written_once():
    def program(x: Tensor, kept: dict[str, Tensor]) -> Tensor:
        kept["h"] = steps(x, kept["h"])
        return kept["h"]

    report = same(lambda: program, lambda: (torch.randn(8, 3), {"h": torch.zeros(3)}))
    assert "changes a dict among its arguments" in report.reason


def test_a_list_among_the_arguments_is_filled_once():
    def program(x: Tensor, out: list[Tensor]) -> Tensor:
        h = x[0]
        for t in range(1, 8):
            h = torch.tanh(h + x[t])
            out.append(h)
        return h

    same(lambda: program, lambda: (torch.randn(8, 3), []))


def test_a_list_among_the_arguments_is_filled_once_where_recording_fails():
    def program(x: Tensor, out: list[Tensor]) -> Tensor:
        out.append(x * 2)
        return torch.multinomial(x.abs(), 2, replacement=True)

    same(lambda: program, lambda: (torch.randn(3), []))


def test_an_argument_made_to_want_gradients_does_so_at_every_call():
    class Slope(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(2, 2), nn.Linear(2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x.requires_grad_()
            h = x
            for _ in range(6):
                h = torch.tanh(self.inner(h))
            return torch.autograd.grad(self.outer(h).sum(), x, create_graph=True)[0]

    assert "makes an argument want gradients" in same(Slope, lambda: (torch.randn(5, 2),), grad=True).reason


def test_state_in_a_default_argument_is_kept():
    def make() -> Any:
        def program(x: Tensor, kept: dict[str, Tensor] = {}) -> Tensor:  # noqa: B006
            kept["h"] = steps(x, kept.get("h", torch.zeros(3)))
            return kept["h"]

        return program

    same(make, lambda: (torch.randn(8, 3),))


def test_state_in_a_keyword_default_is_kept():
    def make() -> Any:
        def program(x: Tensor, *, kept: dict[str, Tensor] = {}) -> Tensor:  # noqa: B006
            kept["h"] = steps(x, kept.get("h", torch.zeros(3)))
            return kept["h"]

        return program

    same(make, lambda: (torch.randn(8, 3),))


def test_a_default_list_that_grows_is_counted_right():
    def make() -> Any:
        def program(x: Tensor, seen: list[int] = []) -> Tensor:  # noqa: B006
            seen.append(1)
            return steps(x, x[0]) * len(seen)

        return program

    same(make, lambda: (torch.randn(8, 3),))
    same(make, lambda: (torch.randn(8, 3),), schedule="auto")


def test_state_in_an_attribute_of_a_function_is_kept():
    def make() -> Any:
        def program(x: Tensor) -> Tensor:
            program.h = steps(x, program.h)
            return program.h

        program.h = torch.zeros(3)
        return program

    same(make, lambda: (torch.randn(8, 3),))


def test_state_in_a_list_in_a_tuple_is_kept():
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kept = ([torch.zeros(3)], 1)

        def forward(self, x: Tensor) -> Tensor:
            self.kept[0][0] = steps(x, self.kept[0][0])
            return self.kept[0][0]

    assert same(Held, lambda: (torch.randn(8, 3),)).status == "emitted"


@pytest.mark.parametrize(
    "loss",
    [
        F.mse_loss,
        F.smooth_l1_loss,
        F.huber_loss,
        F.soft_margin_loss,
        F.binary_cross_entropy_with_logits,
    ],
)
def test_a_loss_in_a_loop_is_a_mean(loss: Any):
    def program(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        total = torch.zeros(())
        for t in range(6):
            x = torch.tanh(x @ w)
            total = total + loss(x, y[t])
        return total

    assert (
        same(
            lambda: program,
            lambda: (torch.randn(4, 3), torch.rand(6, 4, 3), torch.randn(3, 3)),
        ).status
        == "emitted"
    )


def test_a_loop_over_dimensions_is_differentiated():
    class Turn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.angle = nn.Parameter(torch.rand(8, 4) * 3)

        def forward(self, x: Tensor) -> Tensor:
            s = torch.zeros((len(x), 2, 2, 2, 2), dtype=torch.complex64)
            s[:, 0, 0, 0, 0] = 1
            for layer in range(8):
                for q in range(4):
                    half = ((self.angle[layer, q] + x[:, q]) / 2).view(-1, 1, 1, 1)
                    c, d = torch.cos(half).to(s.dtype), torch.sin(half).to(s.dtype)
                    a, b = s.select(q + 1, 0), s.select(q + 1, 1)
                    s = torch.stack([c * a - d * b, d * a + c * b], q + 1)
            p = s.abs() ** 2
            sums = [p.select(q + 1, k).flatten(1).sum(1) for q in range(4) for k in (0, 1)]
            return torch.stack([a - b for a, b in zip(sums[::2], sums[1::2], strict=True)], 1)

    torch.manual_seed(0)
    model = Turn()
    compiled = fxsolve.compile(model, schedule="jacobi", backend="eager")
    for _ in range(2):
        x = torch.randn(3, 4)
        ours, theirs = (torch.autograd.grad(run(x).square().sum(), model.angle)[0] for run in (compiled, model))
        torch.testing.assert_close(ours, theirs)
    assert "internal error" not in compiled.report().reason


def test_an_inplace_activation_on_a_sequence_is_differentiated():
    class Blocks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 4))

        def forward(self, h: Tensor) -> Tensor:
            for _ in range(5):
                h = h + self.inner(h)
            return h

    assert same(Blocks, lambda: (torch.randn(2, 3, 4),), grad=True).status == "emitted"


def test_a_write_through_data_lets_no_gradient_flow():
    class Average(nn.Module):
        mean: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self.register_buffer("mean", torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            h = x[0]
            for t in range(1, 8):
                h = torch.tanh(self.layer(h) + x[t])
            self.mean.data.lerp_(h, 0.1)
            return h

    assert same(Average, lambda: (torch.randn(8, 3),), grad=True).status == "emitted"


def test_a_repeated_map_keeps_the_bits_of_gradients():
    class Iterated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start = nn.Parameter(torch.randn(8, 8) * 0.1)

        def forward(self, scale: Tensor) -> Tensor:
            x = self.start * 1
            for _ in range(8):
                a = x @ x.T
                x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
            return x * scale

    assert same(Iterated, lambda: (torch.randn(8, 8),), grad=True).status == "emitted"


def test_values_with_gaps_keep_the_bits_of_gradients():
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.ModuleList(nn.Linear(12, 96) for _ in range(5))
            self.outer = nn.ModuleList(nn.Linear(48, 12) for _ in range(5))

        def forward(self, x: Tensor) -> Tensor:
            for inner, outer in zip(self.inner, self.outer, strict=True):
                value, gate = inner(x).chunk(2, -1)
                x = x + outer(value * F.gelu(gate))
            return x

    assert same(Gated, lambda: (torch.randn(2, 6, 12),), grad=True).status == "emitted"


def test_an_empty_batch_is_no_internal_error():
    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(7, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = x.new_zeros(x.shape[0], 4)
            for t in range(x.shape[1]):
                h = torch.tanh(self.layer(torch.cat([x[:, t], h], -1)))
            return h

    assert "internal error" not in same(Cell, lambda: (torch.randn(0, 9, 3),), grad=True).reason


@pytest.mark.parametrize("schedule", ["gs", "auto"])
def test_timing_leaves_no_effects_of_another_draw(schedule: str):
    class Dropped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)
            for i in range(6):
                self.register_buffer(f"mean_{i}", torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            last = int(torch.randint(1, 6, ()))
            for i in range(last + 1):
                x = torch.tanh(self.layer(x))
                getattr(self, f"mean_{i}").lerp_(x.mean(0), 0.1)
            return x

    same(Dropped, lambda: (torch.randn(4, 3),), schedule=schedule)


@pytest.mark.parametrize("masked", [False, True])
def test_layers_take_the_path_of_inference_while_they_are_recorded(masked: bool) -> None:
    """A row that is masked whole is NaN there, and 0 on the other path."""
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    mask = torch.tensor([[False] * 5, [masked] * 5])

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False).eval()

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x, src_key_padding_mask=mask) if masked else self.layers(x)

    model = Encoder()
    compiled = fxsolve.compile(model, schedule="gs", backend="eager")
    x = torch.randn(2, 5, 16)
    with torch.no_grad():
        expected = model(x)
        for _ in range(2):
            assert same_bits(compiled(x), expected)
    assert bool(expected[1].isnan().all()) == masked
    assert torch.overrides.has_torch_function is torch._C._has_torch_function


def test_state_in_the_arguments_of_a_partial_is_kept() -> None:
    def program(kept: dict[str, Tensor], x: Tensor, *, seen: list[Tensor]) -> Tensor:
        kept["h"] = seen[0] = steps(x, kept["h"] + seen[0])
        return kept["h"]

    def make() -> Any:
        return functools.partial(program, {"h": torch.zeros(3)}, seen=[torch.zeros(3)])

    same(make, lambda: (torch.randn(8, 3),))


def test_state_in_a_default_of_a_method_is_kept() -> None:
    def make() -> Any:
        class Kept(nn.Module):
            def forward(self, x: Tensor, kept: dict[str, Tensor] = {}) -> Tensor:  # noqa: B006
                kept["h"] = steps(x, kept.get("h", torch.zeros(3)))
                return kept["h"]

        return Kept()

    same(make, lambda: (torch.randn(8, 3),))


def test_an_iterator_in_a_closure_goes_on_at_every_call() -> None:
    def make() -> Any:
        count = itertools.count()
        return lambda x: steps(x, x[0]) * next(count)

    report = same(make, lambda: (torch.randn(8, 3),))
    assert report.reason.startswith("the program reaches a count, which gives something else each time")


@pytest.mark.parametrize("op", ["silu", "loss"])
def test_calls_of_programs_that_write_are_not_taken_apart(op: str) -> None:
    """Recording, or functionalization, would put the parts in the place of some, which round in another way."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(16, 16)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            total = torch.zeros(9, 16)
            for _ in range(6):
                x = F.silu(self.linear(x)) if op == "silu" else torch.tanh(self.linear(x))
                total += x if op == "silu" else F.binary_cross_entropy_with_logits(x, y, reduction="none")
            return total

    same(Model, lambda: (torch.randn(9, 16), torch.rand(9, 16)), grad=True)


def test_a_value_that_the_backward_pass_reads_keeps_its_layout() -> None:
    """Batch norm rounds by it; only what the program returns is copied out of a stack."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm = nn.Linear(7, 4), nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Tensor:
            h, out = torch.zeros(3, 4), []
            for t in range(x.shape[1]):
                h = torch.tanh(self.linear(torch.cat([x[:, t], h], -1)))
                out.append(h)
            return self.norm(torch.stack(out, 1)[:, -1])

    same(Model, lambda: (torch.randn(3, 9, 3),), grad=True)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("width", [5, 8, 33])
def test_cells_that_write_into_parts_give_the_same_bits(width: int, bias: bool) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(3, width, bias=bias)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.zeros(5, width)
            for one in x:
                h = self.cell(one, h)
            return h

    same(Model, lambda: (torch.randn(9, 5, 3),), grad=True)
    same(Model, lambda: (torch.randn(9, 5, 3),))


def weighted(out: Tensor) -> Tensor:
    """A loss whose gradient lies in memory as no result does."""
    return (out * torch.linspace(-1, 1, out.numel()).reshape(out.shape)).sum()


def test_gradients_of_another_layout_are_summed_up_as_they_lie() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.shift = nn.Linear(8, 8), nn.Parameter(torch.zeros(8))

        def forward(self, x: Tensor) -> Tensor:
            h, out = x[:, 0], []
            for t in range(x.shape[1]):
                h = torch.tanh(self.linear(h) + x[:, t])
                out.append(h)
            return torch.stack(out, -1).transpose(1, 2) + self.shift

    torch.manual_seed(0)
    model = Model()
    for schedule in ("gs", "jacobi"):
        compiled = fxsolve.compile(model, schedule=schedule, backend="eager")
        for _ in range(6):
            x = torch.randn(2, 19, 8)
            found = [torch.autograd.grad(weighted(run(x)), [*model.parameters()]) for run in (model, compiled)]
            for one, other in zip(*found, strict=True):
                assert torch.equal(one, other) if schedule == "gs" else torch.allclose(one, other, 1e-4, 1e-5)
        assert compiled.report().status == "emitted"


def test_a_gradient_that_cannot_be_read_as_it_lies_is_copied() -> None:
    def program(x: Tensor, w: Tensor) -> Tensor:
        for _ in range(6):
            x = torch.tanh(x @ w)
        return torch.view_as_real(torch.view_as_complex(x.reshape(3, 4, 2)) * 1j)

    w, x = torch.randn(8, 8, requires_grad=True), torch.randn(3, 8)
    compiled = fxsolve.compile(program, schedule="gs", backend="eager")
    for _ in range(3):
        found = [
            torch.autograd.grad((run(x, w).movedim(-1, 0).contiguous() * torch.ones(2, 3, 4)).sum(), w)[0]
            for run in (program, compiled)
        ]
        assert torch.allclose(found[0], found[1])
    assert compiled.report().status == "emitted"


@pytest.mark.parametrize("where", ["attribute", "global"])
def test_an_iterator_of_a_module_goes_on_at_every_call(where: str) -> None:
    class Numbered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.numbers = itertools.count()

        def forward(self, x: Tensor) -> Tensor:
            return steps(x, x[0]) * next(self.numbers if where == "attribute" else NUMBERS)

    fast = fxsolve.compile(Numbered(), backend="eager")
    x = torch.randn(8, 3)
    assert not torch.equal(fast(x), fast(x))
    assert "reaches a count" in fast.report().reason


NUMBERS = itertools.count()


def test_a_result_that_is_a_buffer_with_gradients_of_its_own_is_left_to_the_original() -> None:
    class Kept(nn.Module):
        mean: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self.register_buffer("mean", torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            alias = self.mean.detach()
            return alias.mul_(0.5).add_(steps(self.layer(x), x[0]))

    assert "with gradients of its own" in same(Kept, lambda: (torch.randn(8, 3),), grad=True).reason


def _behind_an_empty_vector(x: Tensor) -> Tensor:
    seen = x[:, :1]
    for k in range(1, 9):
        seen = torch.cat([torch.empty(0), seen, torch.zeros(2, 1)], 1)
        seen[:, -1] = torch.tanh(seen.sum(1)) + x[:, k]
    return seen


def _around_an_empty_vector(x: Tensor) -> Tensor:
    z = torch.zeros(2, 9)
    for k in range(9):
        new = torch.tanh(z.sum(1, keepdim=True)) + x[:, k : k + 1]
        z = torch.cat([z[:, :k], torch.empty(0), new, z[:, k + 1 :]], 1)
    return z


@pytest.mark.parametrize("program", [_behind_an_empty_vector, _around_an_empty_vector])
def test_an_empty_vector_among_tensors_that_are_joined_is_nothing(program: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(2, 9)
    fast = fxsolve.compile(program, (x,), schedule="gs", backend="eager")
    assert torch.allclose(fast(x), program(x))
    assert fast.report().status == "emitted"
    assert "loop0" in str(fast.schedule)


def test_entries_of_rows_that_are_joined_inside_a_loop_of_rows() -> None:
    def fill(x: Tensor) -> Tensor:
        z = torch.zeros(2, 4, 4)
        for i in range(4):
            for j in range(4):
                new = torch.tanh(z.sum((1, 2), keepdim=True)) + x[:, i + j, None, None]
                row = torch.cat([z[:, i : i + 1, :j], new, z[:, i : i + 1, j + 1 :]], 2)
                z = torch.cat([z[:, :i], row, z[:, i + 1 :]], 1)
        return z

    x = torch.randn(2, 8)
    fast = fxsolve.compile(fill, (x,), schedule="gs", backend="eager")
    assert torch.allclose(fast(x), fill(x))
    assert fast.report().status == "emitted"
