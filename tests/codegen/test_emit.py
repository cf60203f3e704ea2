"""Emitted modules: the program under every schedule, readable, with the model's own parameters, and self-contained."""

import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxsolve
from fxsolve.capture.bits import same_bits
from fxsolve.capture.program import Program
from fxsolve.codegen.emit import Emitted, emit
from fxsolve.codegen.equations import Plan
from fxsolve.errors import GuardError, ScheduleError
from fxsolve.ir.reads import has_carry
from fxsolve.ir.spec import Repeat, System
from fxsolve.lower.unroll import can_unroll
from fxsolve.plan.legalize import legalize_unproved
from fxsolve.plan.schedule import Apply, GaussSeidel
from fxsolve.plan.structural import constants_of, known_values
from fxsolve.plan.text import parse_schedule
from fxsolve.solvers.solution import Solution, observe
from fxsolve.solvers.stop import Stop
from fxsolve.stages import capture, partition
from tests.loops import programs
from tests.loops.programs import GRU, SAMPLES, B, N, Sample, T, numbers

EXACT = Stop(0.0, 0.0)


def emitted(program: Program, text: str, stop: Stop | None = None) -> Emitted:
    system = partition(program).system
    safe = legalize_unproved(system, parse_schedule(text, system), known_values(system, constants_of(program)))
    return emit(program, system, Plan(safe.schedule, stop))


def fused(names: Iterable[str], unroll: int) -> str:
    return f"gs({', '.join(f'fused({name}, unroll={unroll})' for name in names)})"


def outputs_of(program: Program, module: Emitted) -> tuple[tuple[Tensor, ...], list[Solution]]:
    with torch.no_grad(), observe() as solutions:
        return module.module(*program.example.inputs, *module.noise_inputs(program.example.noise)), solutions


def assert_close_to_recorded(program: Program, outputs: tuple[Tensor, ...]) -> None:
    for output, expected in zip(outputs, program.example.outputs, strict=True):
        assert output.stride() == expected.stride()
        torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_in_order_the_module_is_the_program_bit_for_bit(sample: Sample) -> None:
    program = sample.captured()
    outputs, solutions = outputs_of(program, emitted(program, "gs"))
    assert all(map(same_bits, outputs, program.example.outputs))
    assert [out.stride() for out in outputs] == [out.stride() for out in program.example.outputs]
    assert {solution.method for solution in solutions} <= {"gauss_seidel", "fixed_point"}
    assert solutions


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_swept_the_module_is_the_program_up_to_rounding(sample: Sample) -> None:
    """A sum over a whole buffer reads entries of later steps, so those samples run in order."""
    program = sample.captured()
    outputs, solutions = outputs_of(program, emitted(program, "jacobi", stop=EXACT))
    assert_close_to_recorded(program, outputs)
    swept = {solution.method for solution in solutions} == {"jacobi"}
    assert swept != sample.name.endswith("_written")


def chunks(system: System, size: int) -> str:
    """Every recurrence in chunks of `size` steps."""
    rows = [f"jacobi({r.name}[0:{r.length}:{min(size, r.length)}], atol=0, rtol=0)" for r in system.repeats]
    return f"gs({', '.join(rows)})"


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_swept_in_chunks_the_module_is_the_program_up_to_rounding(sample: Sample, size: int) -> None:
    program = sample.captured()
    outputs, solutions = outputs_of(program, emitted(program, chunks(partition(program).system, size)))
    assert_close_to_recorded(program, outputs)
    swept = {solution.method for solution in solutions} == {"jacobi"}
    assert swept != sample.name.endswith("_written")


def test_a_row_of_different_methods_runs_as_written() -> None:
    program = programs.reversed_time.captured()
    module = emitted(program, "gs(loop0[0:2], jacobi(loop0[2:6], atol=0, rtol=0), loop0[6:7])")
    outputs, (solution,) = outputs_of(program, module)
    assert_close_to_recorded(program, outputs)
    assert (solution.length, solution.status) == (T, "exact")
    assert "[0, 1, 2, 6, 7]" in module.module.code or "(0, 1, 2, 6, 7)" in module.module.code


@pytest.mark.parametrize("unroll", [1, 2, 3, 7])
def test_fused_steps_are_the_program(unroll: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fxsolve.solvers.fuse.compile_graph", lambda module, inputs: module)
    tried = 0
    for sample in SAMPLES:
        program = sample.captured()
        repeats = [r for r in partition(program).system.repeats if has_carry(r) and can_unroll(r)]
        if not repeats:
            continue
        tried += 1
        module = emitted(program, fused((repeat.name for repeat in repeats), unroll))
        outputs, solutions = outputs_of(program, module)
        assert "fused_gauss_seidel" in {solution.method for solution in solutions}
        assert_close_to_recorded(program, outputs)
    assert tried >= 10


def test_fused_steps_of_inductor_are_the_program() -> None:
    program = programs.reversed_time.captured()
    outputs, (solution,) = outputs_of(program, emitted(program, fused(["loop0"], 2)))
    assert solution.method == "fused_gauss_seidel"
    assert_close_to_recorded(program, outputs)


def test_parameters_are_the_models_own_objects() -> None:
    model = GRU()
    with torch.no_grad():
        program = capture(model, numbers(T, B, N))
    for text in ("gs", "jacobi"):
        module = emitted(program, text).module
        own = {id(parameter) for parameter in model.parameters()}
        assert {id(parameter) for parameter in module.parameters()} == own


def test_a_failing_guard_stops_the_module() -> None:
    def program(x: Tensor) -> Tensor:
        if (x > 0).all():
            x = x + 1
        for _ in range(T):
            x = torch.sin(x) * 2
        return x

    captured = capture(program, numbers(B, N).abs())
    module = emitted(captured, "gs").module
    module(numbers(B, N).abs() + 1)
    with pytest.raises(GuardError, match="guard 0 read 0, but True was read"):
        module(-numbers(B, N).abs())


def test_a_schedule_that_leaves_an_equation_out_is_an_error() -> None:
    program = programs.reversed_time.captured()
    system = partition(program).system
    with pytest.raises(ScheduleError, match="the schedule solves 0 of 7 steps of loop0"):
        emit(program, system, Plan(GaussSeidel((Apply("block0"),))))


def test_draws_of_a_loop_come_as_one_stack() -> None:
    def program(p: Tensor) -> Tensor:
        x = torch.zeros_like(p)
        for _ in range(T):
            x = torch.bernoulli(torch.sigmoid(p + x))
        return x

    captured = capture(program, numbers(B, N))
    for text in ("gs", "jacobi"):
        module = emitted(captured, text)
        assert [(entry.draws, entry.stacked) for entry in module.noise] == [(tuple(range(T)), True)]
        outputs, _ = outputs_of(captured, module)
        assert torch.equal(outputs[0], captured.example.outputs[0])


def test_the_code_is_short_and_reads_like_the_mathematics() -> None:
    program = programs.reversed_time.captured()
    code = emitted(program, "gs").module.code
    lines = [line.split(";")[0].strip() for line in code.strip().splitlines() if line.strip()]
    names = [line.split(" = ")[0] for line in lines if " = " in line]
    assert any("gauss_seidel(loop0" in line for line in lines)
    assert "loop0_solved" in names
    assert len(lines) <= 14
    assert "vmap" not in code
    assert "fxsolve.loops" not in code
    assert "fxsolve.lower" not in code


GOLDEN = """
zeros = torch.ops.aten.zeros.default([2, 3], device = device(type='cpu'), pin_memory = False)
loop0 = self.loop0
narrow = torch.narrow(input_0, 0, 0, 7)
flip = torch.flip(narrow, [0])
loop0_solved = fxsolve_solvers_jacobi_jacobi(loop0, ((zeros,),), (), (flip,), (), 0.0, 0.0, None, (0, 2, 4, 6, 7))
mul_6 = loop0_solved[0]
contiguous_default = torch.ops.aten.contiguous.default(mul_6)
return (contiguous_default,)
"""


def test_the_code_of_a_last_state_under_jacobi_is_this_text() -> None:
    def last_state(x: Tensor) -> Tensor:
        h = torch.zeros(B, N)
        for t in reversed(range(T)):
            h = torch.tanh(h + x[t]) * 0.9
        return h

    code = emitted(capture(last_state, numbers(T, B, N)), "jacobi(loop0[0:7:2], atol=0, rtol=0)").module.code
    body = [line.split(";")[0].strip() for line in code.partition("def forward")[2].splitlines()[1:] if line.strip()]
    assert body == GOLDEN.strip().splitlines()


def test_the_body_of_a_loop_is_the_users_step() -> None:
    program = programs.reversed_time.captured()
    body = emitted(program, "gs").module.get_submodule("loop0.body")
    assert isinstance(body, torch.fx.GraphModule)
    calls = [node.target.__name__ for node in body.graph.nodes if node.op == "call_function"]
    assert calls == ["add", "tanh", "mul"]


def test_a_sweep_is_the_step_batched() -> None:
    program = programs.reversed_time.captured()
    module = emitted(program, "jacobi").module.get_submodule("loop0.body.windows.n7")
    assert isinstance(module, torch.fx.GraphModule)
    calls = [node.target.__name__ for node in module.graph.nodes if node.op == "call_function"]
    assert calls == ["add", "tanh", "mul"]


# Without the compiler.


BLOCKED = (
    "capture",
    "cli",
    "codegen",
    "compiler",
    "factory",
    "ir",
    "loops",
    "lower",
    "ops",
    "plan",
    "report",
    "rewrite",
    "runtime",
    "stages",
    "structure",
    "view",
)

RUN = """
    import importlib.abc, sys, torch, types
    BLOCKED = {blocked}
    class Block(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.startswith("fxsolve.") and name.split(".")[1] in BLOCKED:
                raise ImportError(f"{{name}} is blocked")
    sys.meta_path.insert(0, Block())
    package = types.ModuleType("fxsolve")  # the package without its compiler
    package.__path__ = [{root!r} + "/fxsolve"]
    sys.modules["fxsolve"] = package
    for case in torch.load({path!r}, weights_only=False):
        module, inputs, expected = case
        with torch.no_grad():
            for output, value in zip(module(*inputs), expected, strict=True):
                torch.testing.assert_close(output, value, rtol=1e-5, atol=1e-6)
    loaded = sorted(name for name in sys.modules if name.startswith("fxsolve."))
    assert {{name.split(".")[1] for name in loaded}} == {{"solvers", "errors", "torch_compat"}}, loaded
    print(len(loaded), "modules")
"""


def test_a_saved_module_runs_where_the_compiler_cannot_be_imported(tmp_path: Path) -> None:
    cases = []
    samples = (programs.gru, programs.columns_written, programs.fixed_point_loop, programs.several_outputs)
    for sample in (*samples, programs.layers):
        program = sample.captured()
        for text in ("gs", "jacobi"):
            module = emitted(program, text)
            inputs = (*program.example.inputs, *module.noise_inputs(program.example.noise))
            cases.append((module.module, inputs, program.example.outputs))
    path = tmp_path / "modules.pt"
    torch.save(cases, path)
    root = str(Path(__file__).parents[2])
    script = textwrap.dedent(RUN).format(blocked=BLOCKED, root=root, path=str(path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "modules" in done.stdout


def test_the_code_of_seventy_steps_is_as_long_as_that_of_seven() -> None:
    def program(x: Tensor) -> Tensor:
        for _ in range(x.shape[0]):
            x = torch.sin(x) + x.mean(0)
        return x

    sizes = []
    for length in (7, 70):
        captured = capture(program, numbers(length, N))
        (repeat,) = partition(captured).system.repeats
        assert isinstance(repeat, Repeat)
        assert repeat.length == length
        sizes.append(len(emitted(captured, "gs").module.code.splitlines()))
    assert sizes[0] == sizes[1]


class Deep(nn.Module):
    """T equal layers; `own` says whether their weights are parameters."""

    def __init__(self, depth: int, own: bool = True) -> None:
        super().__init__()
        layers = [nn.Linear(N, N) for _ in range(depth)]
        self.layers = nn.ModuleList(layers)
        for layer in [] if own else layers:
            weight = layer.weight.detach()
            del layer.weight
            layer.register_buffer("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.tanh(F.linear(x, layer.weight, layer.bias))  # pyright: ignore[reportArgumentType]
        return x


@pytest.mark.parametrize("own", [True, False], ids=["parameters", "buffers"])
@pytest.mark.parametrize("text", ["gs", "jacobi"])
def test_weights_of_equal_layers_are_read_together_and_live(text: str, own: bool) -> None:
    codes = []
    for depth in (7, 70):
        model, x = Deep(depth, own), numbers(B, N)
        with torch.no_grad():
            program = capture(model, x)
            module = emitted(program, text)
            for _ in range(2):
                torch.testing.assert_close(module.module(x)[0], model(x), rtol=1e-5, atol=1e-5)
                model.load_state_dict({name: value * 0.5 for name, value in model.state_dict().items()})
        tensors = {*map(id, module.module.parameters()), *map(id, module.module.buffers())}
        assert tensors >= {*map(id, model.parameters()), *map(id, model.buffers())}
        codes.append(module.module.code)
    assert len(codes[0].splitlines()) == len(codes[1].splitlines())
    assert "self.layers_0_weight_steps()" in codes[1]


def test_a_step_that_is_returned_beside_the_stack_has_memory_of_its_own() -> None:
    def program(x: Tensor) -> tuple[Tensor, Tensor]:
        h, states = x[0], []
        for x_t in x:
            h = torch.tanh(h + x_t)
            states.append(h)
        return torch.stack(states), h

    fast = fxsolve.compile(program, schedule="gs", backend="eager")
    for _ in range(2):
        states, last = fast(torch.randn(8, 2, 3))
        states.zero_()
        assert last.abs().max() > 0
    assert str(fast.schedule) != "original"
