"""Life of a compiled object: what reaches the model, what is noticed, what is kept how long, copies and threads."""

import copy
import gc
import pickle
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.errors import InputError
from fxsolve.runtime.compiled import Compiled, CompiledFunction, CompiledModule
from fxsolve.runtime.guard_keys import Reader
from fxsolve.state import watch

T, B, N = 7, 2, 3
FACTOR = 0.5
OPTIONS: dict[str, Any] = {"schedule": "gs", "backend": "eager"}


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


class Cell(nn.Module):
    """h_t = tanh(gain W h_{t-1} + x_t), with plain attributes of many kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(N, N)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("shift", torch.zeros(N))
        self.gain: float | None = 1.0
        self.options = {"sign": 1}
        self.activation = torch.tanh

    def forward(self, x: Tensor) -> Tensor:
        h, states = torch.zeros_like(x[0]), []
        for x_t in x:
            h = self.linear(h) * (2.0 if self.gain is None else self.gain) + x_t + self.shift
            h = self.drop(self.activation(h * self.options["sign"]))
            states.append(h)
        return torch.stack(states)

    def double_gain(self) -> None:
        self.gain = 2.0


class OwnMethods(Cell):
    """Overrides methods of nn.Module."""

    def train(self, mode: bool = True) -> "OwnMethods":
        super().train(mode)
        self.drop.eval()
        return self

    @property
    def size(self) -> int:
        return N


def loop(x: Tensor) -> Tensor:
    """A loop of T steps."""
    h = torch.zeros_like(x[0])
    for x_t in x:
        h = torch.tanh(h * FACTOR + x_t)
    return h


@fxsolve.compile
def decorated(x: Tensor) -> Tensor:
    """A decorated loop."""
    return loop(x)


def inputs() -> Tensor:
    return torch.randn(T, B, N)


def warm(program: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Compiled and called once: the next call like it runs the emitted module."""
    fast = fxsolve.compile(program, **{**OPTIONS, **options})
    fast(*arguments)
    return fast


def model() -> Cell:
    return Cell().eval()


def assert_follows(fast: Any, program: Callable[..., Any], *arguments: Any, versions: int) -> None:
    """Twice the program's own values, the second time by an emitted module; `versions` are kept then."""
    for _ in range(2):
        torch.manual_seed(7)
        expected = program(*arguments)
        torch.manual_seed(7)
        assert torch.equal(fast(*arguments), expected)
    assert str(fast.schedule) != "original", fast.report().reason
    assert [loop.length for loop in fast.report().loops if loop.depth > 1] == [T]
    assert len(fast.entries) == versions


# A module for a module.


def test_a_compiled_module_is_a_module_with_the_models_own_tensors_and_names() -> None:
    original = model()
    fast = fxsolve.compile(original)
    assert isinstance(fast, nn.Module)
    assert isinstance(fast, CompiledModule)
    assert isinstance(fast, Compiled)
    assert list(fast.state_dict()) == list(original.state_dict()) == ["shift", "linear.weight", "linear.bias"]
    assert all(a is b for a, b in zip(fast.parameters(), original.parameters(), strict=True))
    assert [name for name, _ in fast.named_parameters()] == ["linear.weight", "linear.bias"]
    assert next(fast.buffers()) is original.shift
    assert list(fast.children()) == [original.linear, original.drop]
    assert fast.linear is original.linear
    assert fast.program is original


def test_a_compiled_module_works_inside_of_a_sequential() -> None:
    original, x = model(), inputs()
    outer = nn.Sequential(nn.Identity(), warm(original, x), nn.Linear(N, 2))
    expected = outer[2](original(x))
    assert torch.equal(outer(x), expected)
    assert "1.linear.weight" in outer.state_dict()
    assert str(outer[1].schedule) != "original"
    outer.train()
    assert original.training
    assert original.drop.training
    outer.double()
    assert original.linear.weight.dtype == torch.float64


def test_a_sequential_that_holds_a_compiled_module_can_be_compiled_itself() -> None:
    x = inputs()
    outer = nn.Sequential(fxsolve.compile(model(), **OPTIONS), nn.Linear(N, N))
    assert_follows(fxsolve.compile(outer, **OPTIONS), outer, x, versions=1)
    outer[0].gain = 0.5
    assert_follows(fxsolve.compile(outer, **OPTIONS), outer, x, versions=1)


def test_methods_that_return_the_module_return_the_compiled_one_and_change_the_model() -> None:
    original = model()
    fast = fxsolve.compile(original)
    assert fast.train() is fast
    assert original.training
    assert fast.eval() is fast
    assert not original.drop.training
    assert fast.double() is fast
    assert fast.to(torch.float32) is fast
    assert fast.requires_grad_(False) is fast
    assert not original.linear.weight.requires_grad
    state = {name: torch.ones_like(value) for name, value in original.state_dict().items()}
    fast.load_state_dict(state)
    assert torch.equal(original.linear.weight, torch.ones(N, N))


def test_methods_properties_and_overrides_of_the_model_are_reached() -> None:
    original = OwnMethods()
    fast = fxsolve.compile(original)
    fast.train()
    assert original.training
    assert not original.drop.training
    assert fast.size == N
    fast.double_gain()
    assert original.gain == 2.0
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = fast.no_such_name


def test_what_is_set_on_the_compiled_module_is_set_on_the_model() -> None:
    original = model()
    fast = fxsolve.compile(original)
    fast.gain = 3.0
    fast.extra = nn.Parameter(torch.zeros(1))
    fast.training = True
    assert original.gain == 3.0
    assert original.training
    assert "extra" in dict(original.named_parameters())
    del fast.extra
    assert "extra" not in dict(fast.named_parameters())


def test_compiling_a_compiled_object_compiles_the_program_again() -> None:
    once = fxsolve.compile(loop, schedule="gs")
    again = fxsolve.compile(once, backend="eager")
    assert again is not once
    assert again.program is loop
    for _ in range(2):
        again(inputs())
    assert str(again.schedule).startswith("gs(")
    assert fxsolve.compile(fxsolve.compile(loop), **OPTIONS).program is loop
    assert fxsolve.compile(once, schedule="gs").program is loop


def test_options_given_twice_are_refused_with_the_remedy() -> None:
    once = fxsolve.compile(loop, schedule="gs")
    with pytest.raises(InputError, match=r"with schedule='gs'; for schedule='jacobi' compile its \.program"):
        fxsolve.compile(once, schedule="jacobi")
    with pytest.raises(InputError, match=r"max_entries=2; for max_entries=3"):
        fxsolve.compile(fxsolve.compile(model(), max_entries=2), max_entries=3)


# A callable for a function.


def test_a_compiled_function_has_the_name_and_documentation_of_the_function() -> None:
    assert isinstance(decorated, CompiledFunction)
    assert not isinstance(decorated, nn.Module)
    assert decorated.__name__ == "decorated"
    assert decorated.__doc__ == "A decorated loop."
    assert decorated.__module__ == __name__
    assert decorated.__wrapped__ is decorated.program


def test_a_decorated_method_is_bound_to_its_object() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = 0.5

        @fxsolve.compile
        def run(self, x: Tensor) -> Tensor:
            return loop(x) * self.gain

    one, other, x = Model(), Model(), inputs()
    other.gain = 3.0
    for _ in range(2):
        assert torch.equal(one.run(x), loop(x) * 0.5)
        assert torch.equal(other.run(x), loop(x) * 3.0)
    one.gain = 1.0
    assert torch.equal(one.run(x), loop(x))
    assert len(Model.run.entries) == 3


# What is read live.


def test_parameters_are_read_live_without_another_recording() -> None:
    original, x = model(), inputs()
    fast = warm(original, x)
    original.linear.weight.add_(0.5)
    original.shift.add_(0.25)
    assert_follows(fast, original, x, versions=1)
    fast.load_state_dict({name: value * 0.5 for name, value in original.state_dict().items()})
    assert_follows(fast, original, x, versions=1)


def test_an_optimizer_of_the_compiled_module_trains_the_model_that_it_runs() -> None:
    original, x = model(), inputs()
    fast = warm(original, x)
    optimizer = torch.optim.SGD(fast.parameters(), lr=0.5)
    with torch.enable_grad():
        fast(x).sum().backward()
    before = original.linear.weight.clone()
    optimizer.step()
    assert not torch.equal(before, original.linear.weight)
    for _ in range(2):
        assert torch.equal(fast(x), original(x))
    assert str(fast.schedule) != "original"


# What is noticed.


def _replace_parameter(model: Cell) -> None:
    model.linear.weight = nn.Parameter(model.linear.weight * 2)


def _replace_buffer(model: Cell) -> None:
    model.shift = torch.ones(N)


def _replace_submodule(model: Cell) -> None:
    model.linear = nn.Linear(N, N)


def _set(name: str, value: Any) -> Callable[[Cell], None]:
    return lambda model: setattr(model, name, value)


def _add_hook(model: Cell) -> None:
    model.linear.register_forward_hook(lambda module, arguments, output: output * 0.5)


class Louder(Cell):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(2 * x)


def _replace_hooks(model: Cell) -> None:
    """By another dict, which was empty as the first one was when the program was looked at."""
    model.linear._forward_hooks = OrderedDict()
    _add_hook(model)


@pytest.mark.parametrize(
    "change",
    [
        nn.Module.train,
        _set("__class__", Louder),
        _replace_hooks,
        _set("gain", 2.0),
        _set("gain", None),
        _set("activation", torch.sigmoid),
        lambda model: model.options.update(sign=-1),
        lambda model: setattr(model.drop, "p", 0.25),
        _replace_parameter,
        _replace_buffer,
        _replace_submodule,
        _add_hook,
    ],
    ids=[
        "train",
        "class",
        "dict of hooks",
        "float",
        "None",
        "function",
        "dict",
        "submodule",
        "parameter",
        "buffer",
        "child",
        "hook",
    ],
)
def test_a_change_of_the_model_is_noticed(change: Callable[[Cell], Any]) -> None:
    original, x = model(), inputs()
    original.drop.train()
    fast = warm(original, x)
    change(original)
    assert_follows(fast, original, x, versions=2)


class Scaled(nn.Module):
    """h_t = tanh(h_{t-1} + scale x_t), where the scale is one number, in a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.kernel = ((3, 3), "same")

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros_like(x[0])
        for x_t in x:
            h = torch.tanh(h + self.scale * x_t * len(self.kernel))
        return h


def test_an_equal_parameter_in_the_place_of_another_one_is_another_one() -> None:
    original, x = Scaled(), inputs()
    fast = warm(original, x)
    original.scale = nn.Parameter(torch.ones(1))
    fast(x)
    original.scale.mul_(3)
    assert_follows(fast, original, x, versions=2)
    original.kernel = ((3, 3), "same", 1)  # pyright: ignore[reportAttributeAccessIssue]
    assert_follows(fast, original, x, versions=3)


def test_a_program_is_looked_at_anew_only_where_something_new_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    look = watch._look
    monkeypatch.setattr(watch, "_look", lambda *arguments: looks.append(1) or look(*arguments))
    original, x = model(), inputs()
    fast = warm(original, x)
    for _ in range(3):
        for flag in (True, False):
            original.train(flag)
            original.requires_grad_(flag)
            fast(x)
    assert len(looks) == 2
    original.gain = 2.0
    fast(x)
    original.gain = 1.0
    assert_follows(fast, original, x, versions=3)
    assert len(looks) == 3


def test_a_tensor_and_a_number_that_change_places_make_another_call() -> None:
    def difference(a: Any, b: Any) -> Tensor:
        h = torch.zeros(N)
        for _ in range(T):
            h = torch.tanh(h) + a - b
        return h

    fast, x = warm(difference, torch.ones(N), 2), torch.ones(N)
    assert_follows(fast, difference, x, 2, versions=1)
    assert_follows(fast, difference, 2, x, versions=2)
    assert torch.equal(fast(b=2, a=x), difference(x, 2))


def test_a_flag_that_flips_back_finds_its_version_again() -> None:
    original, x = model(), inputs()
    fast = warm(original, x)
    for gain in (2.0, 1.0, 2.0, 1.0):
        original.gain = gain
        assert torch.equal(fast(x), original(x))
    assert [entry.calls for entry in fast.entries] == [1, 2]


def test_buffers_that_came_back_as_other_objects_are_not_mistaken_for_the_old_ones() -> None:
    original, x = model(), inputs()
    fast = warm(original, x)
    original.double().float()
    original.shift.add_(1.0)
    assert_follows(fast, original, x, versions=2)


def test_a_conversion_of_the_model_is_noticed() -> None:
    original, x = model(), inputs()
    fast = warm(original, x)
    fast.double()
    assert_follows(fast, original, x.double(), versions=2)
    assert fast(x.double()).dtype == torch.float64


def test_a_conversion_of_the_model_is_noticed_where_the_inputs_do_not_show_it() -> None:
    inner, x = nn.Linear(N, N), inputs()

    def program(x: Tensor) -> Tensor:
        h = torch.zeros_like(x[0], dtype=inner.weight.dtype)
        for x_t in x.to(inner.weight.dtype):
            h = torch.tanh(inner(h) + x_t)
        return h

    fast = warm(program, x)
    inner.double()
    assert_follows(fast, program, x, versions=2)
    inner.float()
    assert_follows(fast, program, x, versions=2)


def test_a_part_without_autocast_stays_without_it() -> None:
    linear, x = nn.Linear(N, N), inputs()

    def program(x: Tensor) -> Tensor:
        h = torch.zeros_like(x[0])
        for x_t in x:
            with torch.autocast("cpu", enabled=False):
                h = torch.tanh(linear(h) + x_t)
        return h

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_follows(fxsolve.compile(program, **OPTIONS), program, x, versions=1)


def test_numbers_that_are_equal_but_differ_in_type_or_sign_are_told_apart() -> None:
    def program(x: Tensor, count: Any) -> Any:
        return loop(x), count

    x = inputs()
    fast = warm(program, x, 1)
    for value in (True, 1.0, 0.0, -0.0, 1):
        for _ in range(2):
            assert repr(fast(x, value)[1]) == repr(value)
    assert len(fast.entries) == 5


def test_a_closure_cell_that_is_bound_again_is_noticed() -> None:
    factor = 0.5

    def program(x: Tensor) -> Tensor:
        h = torch.zeros_like(x[0])
        for x_t in x:
            h = torch.tanh(h * factor + x_t)
        return h

    x = inputs()
    fast = warm(program, x)
    factor = 2.0
    assert_follows(fast, program, x, versions=2)


def test_a_global_that_is_bound_again_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    x = inputs()
    fast = warm(loop, x)
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    assert_follows(fast, loop, x, versions=2)


def test_a_module_that_a_function_uses_is_watched() -> None:
    inner, x = model(), inputs()

    def program(x: Tensor) -> Tensor:
        return inner(x) + 1

    fast = warm(program, x)
    inner.gain = 2.0
    assert_follows(fast, program, x, versions=2)
    inner = model()
    assert_follows(fast, program, x, versions=3)


def test_settings_held_by_a_module_are_watched() -> None:
    @dataclass
    class Settings:
        sign: int = 1

    original, x = model(), inputs()
    settings = Settings()
    original.settings = settings
    fast = warm(original, x)
    settings.sign = -1
    assert_follows(fast, original, x, versions=2)


def test_modes_of_torch_are_part_of_the_signature() -> None:
    original, x = model(), inputs()
    fast = warm(original, x)
    with torch.inference_mode():
        assert_follows(fast, original, x, versions=2)
        assert fast(x).is_inference()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_follows(fast, original, x, versions=3)
    with torch.autocast("cpu", dtype=torch.float16):
        fast(x)
    assert len(fast.entries) == 4
    with torch.enable_grad():
        assert fast(x).requires_grad
    assert not fast(x).requires_grad
    assert str(fast.schedule) != "original"


def test_requires_grad_matters_under_grad_mode_only() -> None:
    original, x = model().requires_grad_(False), inputs()
    fast = warm(original, x)
    original.requires_grad_(True)
    assert_follows(fast, original, x, versions=1)
    with torch.enable_grad():
        assert fast(x).requires_grad
        original.requires_grad_(False)
        assert_follows(fast, original, x, versions=3)
        original.requires_grad_(True)
        assert fast(x).requires_grad


def test_casts_of_autocast_do_not_outlive_their_weights() -> None:
    original, x = model(), inputs()
    fast = fxsolve.compile(original, **OPTIONS)
    with torch.enable_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        original(x)  # autocast keeps the casts of the weights until the end of this block
        with torch.no_grad():
            fast(x)
    original.linear.weight.mul_(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_follows(fast, original, x, versions=1)


# Hooks.


def test_a_hook_that_only_computes_is_recorded() -> None:
    original, x = model(), inputs()
    original.linear.register_forward_hook(lambda module, arguments, output: output * 0.5)
    original.register_forward_pre_hook(lambda module, arguments: (arguments[0] + 1,))
    assert_follows(fxsolve.compile(original, **OPTIONS), original, x, versions=1)


def test_a_hook_that_keeps_what_it_sees_leaves_the_program_alone() -> None:
    original, x, seen = model(), inputs(), []
    original.linear.register_forward_hook(lambda module, arguments, output: seen.append(output))
    fast = fxsolve.compile(original, **OPTIONS)
    for _ in range(3):
        fast(x)
    assert len(seen) == 3 * T
    assert str(fast.schedule) == "original"
    assert "changes" in fast.report().reason


def test_a_hook_added_on_the_compiled_module_runs_once_a_call() -> None:
    original, x, seen = model(), inputs(), []
    fast = warm(original, x)
    handle = fast.register_forward_hook(lambda *arguments: seen.append(1))
    fast(x), fast(x)
    assert len(seen) == 2
    handle.remove()
    # The items of `seen` are watched as well: each call with the hook is one of its own, and grows what was not empty.
    assert_follows(fast, original, x, versions=2)
    assert len(seen) == 2


# Copies.


def test_a_deep_copy_has_a_model_of_its_own_and_compiles_anew() -> None:
    original, x = model(), inputs()
    fast = warm(original, x, max_entries=3)
    other = copy.deepcopy(fast)
    assert isinstance(other, CompiledModule)
    assert other.entries == ()
    other.linear.weight.zero_()
    assert not torch.equal(original.linear.weight, other.linear.weight)
    assert_follows(other, other.program, x, versions=1)
    assert_follows(fast, original, x, versions=1)


def test_a_deep_copy_keeps_what_is_shared_shared() -> None:
    fast = fxsolve.compile(model())
    pair = copy.deepcopy(nn.ModuleList([fast, fast.linear, fast]))
    assert pair[0] is pair[2]
    assert pair[0].linear is pair[1]


def test_a_pickled_module_comes_back_compiled() -> None:
    x = inputs()
    fast = warm(model(), x)
    other = pickle.loads(pickle.dumps(fast))
    assert isinstance(other, CompiledModule)
    assert torch.equal(other.linear.weight, fast.linear.weight)
    assert other.linear.weight is not fast.linear.weight
    assert_follows(other, fast.program, x, versions=1)


def test_functions_are_pickled_and_copied_as_functions_are() -> None:
    assert pickle.loads(pickle.dumps(decorated)) is decorated
    assert copy.deepcopy(decorated) is decorated
    fast = fxsolve.compile(loop, **OPTIONS)
    other = pickle.loads(pickle.dumps(fast))
    assert other is not fast
    assert other.program is loop


# Threads and calls inside of calls.


def test_two_threads_may_make_the_first_call_at_once() -> None:
    original, x = model(), inputs()
    fast, expected, results = fxsolve.compile(original, **OPTIONS), original(x), []
    start = threading.Barrier(4)

    def work() -> None:
        with torch.no_grad():
            start.wait()
            results.extend(fast(x) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 20
    assert all(torch.equal(result, expected) for result in results)
    assert len(fast.entries) == 1
    assert fast.entries[0].calls == 19


def test_a_compiled_function_inside_of_another_is_recorded_with_it() -> None:
    inner = fxsolve.compile(loop, **OPTIONS)

    def program(x: Tensor) -> Tensor:
        return inner(x) * 2

    x = inputs()
    assert_follows(fxsolve.compile(program, **OPTIONS), program, x, versions=1)
    inner(x)
    outer = fxsolve.compile(program, **OPTIONS)
    outer(x)
    assert str(outer.schedule) != "original"


def test_a_compiled_function_may_call_itself() -> None:
    def program(x: Tensor, depth: int) -> Tensor:
        return loop(x) if depth == 0 else fast(x * 2, depth - 1)

    x = inputs()
    fast = fxsolve.compile(program, **OPTIONS)
    for _ in range(2):
        assert torch.equal(fast(x, 2), loop(x * 4))
    assert str(fast.schedule) != "original"
    assert len(fast.entries) == 1


@pytest.mark.parametrize("transform", [torch.func.vmap, lambda f: torch.func.functionalize(f)])
def test_inside_of_a_transform_the_original_runs(transform: Callable[..., Any]) -> None:
    x = inputs()
    fast = warm(loop, x)
    calls = fast.entries[0].calls
    batch = torch.stack([x, x]) if transform is torch.func.vmap else x
    assert torch.equal(transform(fast)(batch), transform(loop)(batch))
    assert fast.entries[0].calls == calls


def test_symbolic_tracing_sees_the_program_alone() -> None:
    x, original = inputs(), nn.Linear(N, N)
    traced = torch.fx.symbolic_trace(nn.Sequential(fxsolve.compile(original, **OPTIONS)))
    assert torch.equal(traced(x), original(x))


def test_parameters_that_are_swapped_for_one_call_are_used_in_it() -> None:
    original, x = model(), inputs()
    fast = warm(original, x)
    expected, swapped = original(x), {"linear.weight": torch.zeros(N, N)}
    for _ in range(2):
        assert torch.equal(
            torch.func.functional_call(fast, swapped, (x,)), torch.func.functional_call(original, swapped, (x,))
        )
        assert torch.equal(fast(x), expected)
    assert str(fast.schedule) != "original"


def test_under_a_default_device_the_emitted_module_runs() -> None:
    x = inputs()
    fast = fxsolve.compile(loop, **OPTIONS)
    with torch.device("cpu"):
        assert_follows(fast, loop, x, versions=1)


# Arguments that cannot be watched.


@pytest.mark.parametrize(
    ("argument", "kind"),
    [(np.zeros(3), "ndarray"), (iter([1.0, 2.0, 3.0, 4.0]), "list_iterator")],
)
def test_arguments_that_change_unseen_leave_the_call_alone(argument: Any, kind: str) -> None:
    def program(x: Tensor, extra: Any) -> Tensor:
        return loop(x) + (next(extra) if hasattr(extra, "__next__") else float(extra[0]))

    x = inputs()
    fast = fxsolve.compile(program, **OPTIONS)
    first = fast(x, argument)
    if kind == "ndarray":
        argument[0] = 1.0
    assert torch.allclose(fast(x, argument), first + 1)
    assert kind in fast.report().reason
    assert fast.entries == ()


def test_modules_and_functions_among_the_arguments_are_watched() -> None:
    def program(x: Tensor, step: Callable[[Tensor], Tensor]) -> Tensor:
        h = torch.zeros_like(x[0])
        for x_t in x:
            h = torch.tanh(step(h) + x_t)
        return h

    x, linear, factor = inputs(), nn.Linear(N, N), 0.5
    fast = warm(program, x, linear)
    linear.weight.mul_(2)
    assert_follows(fast, program, x, linear, versions=1)

    def step(h: Tensor) -> Tensor:
        return h * factor

    assert_follows(fast, program, x, step, versions=2)
    factor = 0.25
    assert_follows(fast, program, x, step, versions=3)


def test_functions_made_anew_for_each_call_are_known_by_their_code_and_closure() -> None:
    def program(x: Tensor, step: Callable[[Tensor], Tensor]) -> Tensor:
        h = torch.zeros_like(x[0])
        for x_t in x:
            h = torch.tanh(step(h) + x_t)
        return h

    class Steps:
        gain = 0.5

        def step(self, h: Tensor) -> Tensor:
            return h * self.gain

    x, steps = inputs(), Steps()
    steps.gain = 2.0
    fast = fxsolve.compile(program, **OPTIONS)
    for factor in (0.5, 0.25, 0.5):
        assert torch.equal(fast(x, lambda h, f=factor: h * f), program(x, lambda h, f=factor: h * f))
        assert torch.equal(fast(x, steps.step), program(x, steps.step))
    assert [entry.calls for entry in fast.entries] == [0, 1, 2]
    steps.gain = 3.0
    assert_follows(fast, program, x, steps.step, versions=4)


def test_an_enumeration_and_a_class_among_the_arguments_are_told_apart() -> None:
    class Mode(Enum):
        PLAIN = 1
        SCALED = 2

    def program(x: Tensor, mode: Mode, kind: type) -> Tensor:
        return loop(x) * (2 if mode is Mode.SCALED else 1) + (1 if kind is int else 0)

    x = inputs()
    fast = fxsolve.compile(program, **OPTIONS)
    for number, arguments in enumerate([(Mode.PLAIN, int), (Mode.SCALED, int), (Mode.PLAIN, float)], 1):
        assert_follows(fast, program, x, *arguments, versions=number)


# How long versions are kept.


def test_the_least_recently_used_signature_goes_first() -> None:
    fast = warm(loop, torch.ones(T, 1, N), max_entries=2)
    for size in (1, 2, 1, 3, 3, 1):
        fast(torch.ones(T, size, N))
    assert [entry.signature for entry in fast.entries] == ["float32[7, 3, 3]", "float32[7, 1, 3]"]


def test_a_state_that_differs_at_every_call_is_not_recorded_for_ever() -> None:
    original, x = model(), inputs()
    fast = warm(original, x, max_entries=4)
    for step in range(8):
        original.gain = float(step)
        assert torch.equal(fast(x), original(x))
    assert len(fast.entries) == 4
    reason = fast.report().reason
    assert "the attribute gain differs at every call: 5 signatures in a row" in reason
    assert reason.endswith("and max_entries=4 are kept")
    original.gain = 3.0
    assert_follows(fast, original, x, versions=4)


def test_a_program_that_changes_itself_at_every_call_is_recorded_a_few_times_only() -> None:
    recordings = []

    class Stateful(Cell):
        def forward(self, x: Tensor) -> Tensor:
            recordings.append(torch._C._len_torch_dispatch_stack() > 0)
            self.gain = (self.gain or 0.0) + 1.0
            return super().forward(x)

    program, same = Stateful().eval(), Stateful().eval()
    same.load_state_dict(program.state_dict())
    fast, x = fxsolve.compile(program, **OPTIONS), inputs()
    for _ in range(12):
        assert torch.equal(fast(x), same(x))
    assert program.gain == same.gain == 13.0
    assert sum(recordings) <= 10  # half of them end where they read the number
    assert "the attribute gain differs at every call" in fast.report().reason


def test_a_program_that_changes_itself_at_every_call_is_looked_at_less_and_less(monkeypatch) -> None:
    class Stateful(Cell):
        def forward(self, x: Tensor) -> Tensor:
            self.gain = (self.gain or 0.0) + 0.1
            return super().forward(x)

    program, same = Stateful().eval(), Stateful().eval()
    same.load_state_dict(program.state_dict())
    fast, x, looks = fxsolve.compile(program, **OPTIONS), inputs(), []
    monkeypatch.setattr(Reader, "read", lambda self, *call, read=Reader.read: looks.append(1) or read(self, *call))
    for _ in range(400):
        assert torch.equal(fast(x), same(x))
    assert program.gain == same.gain
    assert len(looks) < 120


@pytest.mark.parametrize("count", [0, -1, 2.0, True])
def test_an_unusable_number_of_entries_is_refused_at_once(count: Any) -> None:
    with pytest.raises(InputError, match="max_entries is"):
        fxsolve.compile(loop, max_entries=count)


def test_no_example_tensor_is_kept_alive() -> None:
    def program(x: Tensor) -> Tensor:
        return loop(x + torch.randn_like(x))

    fast = fxsolve.compile(program, **OPTIONS)
    x = inputs()
    result = fast(x)
    alive = [weakref.ref(x), weakref.ref(result)]
    del x, result
    gc.collect()
    assert str(fast.schedule) != "original"
    assert [reference() for reference in alive] == [None, None]


def test_entries_tell_what_runs_for_which_calls() -> None:
    fast = warm(loop, torch.ones(T, B, N))
    fast(torch.ones(T, B, N))
    fast(torch.ones(2, B, N))
    emitted, alone = fast.entries
    assert emitted.signature == "float32[7, 2, 3]"
    assert emitted.schedule.startswith("gs(")
    assert (emitted.status, emitted.reason, emitted.calls) == ("emitted", "", 1)
    assert (alone.schedule, alone.status, alone.calls) == ("original", "left alone", 0)
    assert "no loop" in alone.reason


def test_explain_names_the_loops_of_a_program_that_is_left_alone() -> None:
    def program(x: Tensor) -> Tensor:
        scale, h = torch.ones(N, requires_grad=True), x[0]  # nothing that outlives the call gets a gradient
        for x_t in x:
            h = torch.tanh(h * scale + x_t)
        return h

    with torch.enable_grad():
        report = fxsolve.explain(program, inputs())
    assert "which only the original gives" in report.reason
    line = program.__code__.co_firstlineno + 3
    assert any(f"{T} steps" in note and f"test_life.py:{line}" in note for note in report.notes), report.notes


def test_explain_names_the_line_where_a_loop_stops_being_regular() -> None:
    def program(x: Tensor) -> Tensor:
        states = [x[0]]
        for t, source in enumerate((0, 0, 1, 0, 2, 4, 1, 3, 0, 5)):
            states.append(torch.tanh(states[source] * 0.5 + states[t] + x[0]))
        return states[-1]

    report = fxsolve.explain(program, inputs())
    line = program.__code__.co_firstlineno + 3
    assert report.status == "left alone"
    assert any("not rolled" in note and f"test_life.py:{line}" in note for note in report.notes), report.notes
