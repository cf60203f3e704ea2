"""What cannot be captured is refused with the line, and the program can then run as if nothing had happened."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._higher_order_ops.map import map as map_rows

from fxsolve.capture.capture import capture
from fxsolve.errors import CaptureError, SideEffectError

OUTER = torch.zeros(3)
X = torch.tensor([1.0, 2.0, 3.0])


class Stateful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.history, self.steps = None, [], 0

    def forward(self, x: Tensor, how: str) -> Tensor:
        if how == "attribute":
            self.hidden = x * 2
        if how == "new attribute":
            self.cache = x * 2
        if how == "list":
            self.history.append(x)
        if how == "registered":
            self.register_buffer("extra", x * 2)
        self.steps = self.steps * 2 + 1
        return x + torch.rand(3)


@pytest.mark.parametrize("how", ["attribute", "new attribute", "list", "number", "registered"])
def test_state_of_a_module_is_put_back(how: str) -> None:
    model = Stateful()
    before, attributes = copy.deepcopy(model.state_dict()), list(vars(model))
    state = torch.get_rng_state()
    with pytest.raises(SideEffectError, match=r"Stateful\.steps is read at .*test_refusals\.py:\d+; a number"):
        capture(model, (X.clone(), how), {})
    assert model.state_dict().keys() == before.keys()
    assert list(vars(model)) == attributes
    assert (model.hidden, model.history, model.steps) == (None, [], 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_state_in_closures_and_globals_is_put_back() -> None:
    calls, seen = 0, []

    def count(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return x + 1

    def collect(x: Tensor) -> Tensor:
        nonlocal calls
        seen.append(x)
        calls += 1
        return x + 1

    with pytest.raises(SideEffectError, match="changes calls"):
        capture(count, (X,), {})
    with pytest.raises(SideEffectError, match="changes calls"):
        capture(collect, (X,), {})
    assert (calls, seen) == (0, [])


def test_gradients_that_are_left_on_parameters_are_removed() -> None:
    model = nn.Linear(3, 1)

    def program(x: Tensor) -> Tensor:
        loss = model(x).sum()
        loss.backward()
        return loss

    with pytest.raises(SideEffectError, match=r"Linear model\.weight\.grad"):
        capture(program, (X,), {})
    assert model.weight.grad is None


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (lambda x: x.repeat(2000).tolist(), "tolist of more than 4096 entries"),
        (lambda x: np.asarray(x.repeat(2000)), "__array__ of more than 4096 entries"),
        (lambda x: np.from_dlpack(x), "__dlpack__"),
        (lambda x: x.data_ptr(), "data_ptr"),
        (lambda x: x.untyped_storage(), "untyped_storage"),
        (lambda x: copy.deepcopy(x), "__deepcopy__"),
        (lambda x: repr(x), "__repr__"),
        (lambda x: torch.tensor([x[0], x[1]]), "tensor with a list"),
        (lambda x: x[[x[0].long(), 1]], "__getitem__ with a list"),
    ],
)
def test_a_read_that_bypasses_the_dispatcher_is_refused(read, name: str) -> None:
    def program(x: Tensor) -> Tensor:
        read(x * 2)
        return x + 1

    verb = "reads( or writes)? tensor values outside of torch"
    with pytest.raises(CaptureError, match=rf"test_refusals.py:\d+: .*{name}.* {verb}"):
        capture(program, (X,), {})


def test_a_write_that_bypasses_the_dispatcher_is_called_a_write() -> None:
    for write in (lambda x: x.apply_(abs), lambda x: x.map_(x, max)):
        with pytest.raises(
            CaptureError, match=r"test_refusals.py:\d+: Tensor\.\w+_ writes tensor values outside of torch"
        ):
            capture(lambda x, write=write: write(x * 2), (X,), {})


def test_a_constructor_that_reads_tensors_unseen_is_refused() -> None:
    with pytest.raises(CaptureError, match=r"test_refusals.py:\d+: this constructor may read tensor values unseen"):
        capture(lambda x: x + torch.FloatTensor([x[0], x[1], 1.0]), (X,), {})
    for literal in (torch.FloatTensor, torch.tensor, lambda items: torch.from_numpy(np.array(items))):
        assert capture(lambda x, make=literal: x * make([1.0, 2.0, 3.0]), (X,), {}).guards == ()


def test_a_refusal_that_the_program_swallows_is_raised_all_the_same() -> None:
    def program(x: Tensor) -> Tensor:
        try:
            (x * 1).data_ptr()
        except Exception:
            return x * 2
        return x * 3

    with pytest.raises(CaptureError, match="data_ptr"):
        capture(program, (X,), {})


def test_errors_of_the_model_pass_unchanged() -> None:
    class WrongError(Exception):
        pass

    def program(x: Tensor) -> Tensor:
        raise WrongError("as the model says")

    with pytest.raises(WrongError, match="as the model says"):
        capture(program, (X,), {})
    with pytest.raises(RuntimeError, match="must match the size"):
        capture(lambda x: x + torch.zeros(2), (X,), {})


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (lambda x: {1: object()}, "returns a object; fxsolve handles tensors"),
        (lambda x: x.to_sparse(), "output 0 has layout torch.sparse_coo"),
        (lambda x: torch.poisson(x), "no rule to draw the random numbers of aten.poisson"),
        (lambda x: torch.multinomial(x, 2, replacement=True), "with replacement"),
        (lambda x: x * random.random(), "from Python or NumPy"),
        (lambda x: x * float(np.random.rand()), "from Python or NumPy"),
        (lambda x: map_rows(torch.sin, x), "takes functions; write it as a Python loop"),  # pyright: ignore
        (lambda x: x.clone().set_(OUTER.untyped_storage()), "works on a storage"),
        (lambda x: torch.unique(x[None], dim=1), "cannot guard what the program reads by aten.unique_dim"),
        (lambda x: torch.linalg.lstsq(x[:, None], x[:, None], driver="gelsd")[0], "has residuals depends on ranks"),
    ],
)
def test_a_program_outside_of_the_language_is_refused_with_the_reason(program, message: str) -> None:
    state, python, numpy = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    with pytest.raises(CaptureError, match=message):
        capture(program, (X,), {})
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == python
    assert (np.random.get_state()[1] == numpy).all()


def test_an_explicit_generator_is_put_back() -> None:
    generator = torch.Generator().manual_seed(5)
    state = generator.get_state()
    with pytest.raises(CaptureError, match="returns a object"):
        capture(lambda: (torch.rand(3, generator=generator), object()), (), {})
    assert torch.equal(generator.get_state(), state)


def test_unusual_inputs_are_refused() -> None:
    class Tagged(Tensor):
        pass

    model = nn.Linear(3, 3)
    with pytest.raises(CaptureError, match="input 0 is a Tagged"):
        capture(lambda x: x + 1, (torch.zeros(2).as_subclass(Tagged),), {})
    with pytest.raises(CaptureError, match=r"input 1 has layout torch\.sparse_coo"):
        capture(lambda x, y: x + 1, (X, X.to_sparse()), {})
    with pytest.raises(CaptureError, match="input 0 is the model's own weight; do not pass it"):
        capture(model, (model.weight,), {})


def test_capture_inside_a_transform_is_refused() -> None:
    def program(x: Tensor) -> Tensor:
        return capture(torch.sin, (x,), {}).example.outputs[0]

    with pytest.raises(CaptureError, match="another dispatch mode or function transform is active"):
        torch.func.vmap(program)(torch.ones(2))
    with pytest.raises(CaptureError, match="another dispatch mode"):
        capture(program, (X,), {})


@pytest.mark.parametrize("make", [lambda: torch.empty(3), lambda: torch.empty(3).clone().double()])
def test_memory_that_nothing_has_written_is_not_read(make) -> None:
    with pytest.raises(CaptureError, match=r"test_refusals.py:\d+: aten.mul.Tensor reads memory that was allocated"):
        capture(lambda x: x + make() * 0, (X,), {})


def test_memory_that_is_written_in_any_way_is_read() -> None:
    def program(x: Tensor) -> Tensor:
        rows, total = torch.empty(4, 3), torch.empty(3)
        for t in range(4):
            rows[t] = torch.tanh(x + t)
        torch.add(x, 1, out=total)
        drawn = torch.empty(3).normal_() + torch.empty_like(x).bernoulli_(0.5) + torch.empty(3).uniform_()
        shaped = torch.zeros_like(torch.empty(3)) + torch.empty(3).to(torch.float64).fill_(2)
        return torch.cat([rows, torch.empty(0, 3)]).sum(0) + total + drawn + shaped

    torch.manual_seed(0)
    expected = program(X)
    torch.manual_seed(0)
    (found,) = capture(program, (X,), {}).example.outputs
    assert torch.equal(found, expected)
