"""Straight-line networks as equation blocks: the layers that a person would name, and who reads whom."""

import time

import pytest
import torch
from torch import fx, nn

import fxsolve
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.spec import Block, System, inputs_of, outputs_of
from fxsolve.ir.verify import verify_system
from fxsolve.plan.auto import example_values
from fxsolve.rewrite.blocks.mirrored import ForwardBlocks
from fxsolve.structure.mirror import NOWHERE
from fxsolve.structure.quotient import levels_of, skips_of
from tests.goldens import check_golden, check_names
from tests.straight import NETS, SMALL, Named, network


def systems_of(name: str, grad: bool = False):
    model, x = network(name)
    with torch.set_grad_enabled(grad):
        program = fxsolve.capture(model, x)
    return program, fxsolve.partition(program).system


def reads_of(system: System) -> list[set[int]]:
    writer = {name: k for k, equation in enumerate(system.equations) for name in outputs_of(equation)}
    return [{writer[name] for name in inputs_of(one) if name in writer} for one in system.equations]


def blocks_text(system: System) -> str:
    """A line for each equation: its level, its name, and what it reads, the farthest first."""
    reads, names = reads_of(system), [equation.name for equation in system.equations]
    level = levels_of(reads)
    lines: list[str] = [
        f"{level[k]:>3} {name}: {', '.join(names[source] for source in sorted(reads[k])) or '-'}"
        for k, name in enumerate(names)
    ]
    spans = sorted(skips_of(reads), key=lambda skip: (-skip.span, skip.source))[:3]
    return "\n".join(
        [*lines, *(f"skip of {one.span}: {names[one.source]} -> {names[one.target]}" for one in spans), ""]
    )


_LARGE = ("densenet121", "densenet201", "resnet50")


@pytest.mark.parametrize("name", [pytest.param(one, marks=pytest.mark.slow if one in _LARGE else ()) for one in NETS])
def test_blocks_are_the_layers_that_a_person_would_name(name: str) -> None:
    _, system = systems_of(name)
    check_golden(f"blocks/{name}", blocks_text(system))


def test_no_text_is_kept_for_nothing() -> None:
    check_names("blocks", set(NETS))


@pytest.mark.slow
def test_densenet201_has_the_98_layers_of_song_et_al() -> None:
    _, system = systems_of("densenet201")
    layers = [one.name for one in system.equations if "denselayer" in one.name]
    assert len(layers) == 98
    assert len(system.equations) == 98 + 1 + 3 + 1
    assert max(levels_of(reads_of(system))) == 103
    assert max(skip.span for skip in skips_of(reads_of(system))) == 49


@pytest.mark.parametrize("name", SMALL)
def test_equation_blocks_compute_what_the_program_computes(name: str) -> None:
    program, system = systems_of(name)
    verify_system(system)
    found = evaluate(system, example_values(program))
    assert all(torch.equal(one, other) for one, other in zip(found, program.example.outputs, strict=True))


@pytest.mark.parametrize("name", ["densenet", "unet", "mlp"])
def test_so_do_those_of_both_passes(name: str) -> None:
    program, system = systems_of(name, grad=True)
    assert sum("backward" in one.name for one in system.equations) > 3
    found = evaluate(system, example_values(program))
    assert all(torch.equal(one, other) for one, other in zip(found, program.example.outputs, strict=True))


def passes_of(name: str) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Which blocks each block reads in the forward and in the backward pass, without the names of the two."""
    _, system = systems_of(name, grad=True)
    names, reads = [one.name for one in system.equations], reads_of(system)
    found: tuple[dict[str, set[str]], dict[str, set[str]]] = {}, {}
    for name, sources in zip(names, reads, strict=True):
        beside = (names[source] for source in sources if ("_backward" in names[source]) == ("_backward" in name))
        found["_backward" in name][name.partition(".")[2]] = {one.partition(".")[2] for one in beside}
    return found


@pytest.mark.parametrize("name", ["densenet", "listed", "unet", "branches", "fractal", "bare"])
def test_the_backward_pass_is_the_transposed_system_of_the_forward_pass(name: str) -> None:
    forward, backward = passes_of(name)
    assert list(backward) == list(reversed(forward))
    transposed = {(source, reader) for reader, sources in forward.items() for source in sources}
    assert {(reader, source) for reader, sources in backward.items() for source in sources} == transposed


def test_what_is_differentiated_without_a_call_is_no_block_of_the_backward_pass() -> None:
    forward, backward = passes_of("cell")
    last = list(forward)[-1]  # it joins its values: their gradients are parts of one tensor
    assert list(backward) == [name for name in reversed(forward) if name != last]


@pytest.mark.slow
def test_blocks_beside_loops_have_the_layers_of_the_forward_pass_too() -> None:
    forward, backward = passes_of("resnet50")
    assert [name for name in backward if name] == [name for name in reversed(forward) if name]


def test_a_norm_in_front_of_the_first_layer_does_not_name_it() -> None:
    norm, first, second = nn.LayerNorm(3), nn.Linear(3, 4), nn.Linear(4, 2)

    def model(x: torch.Tensor) -> torch.Tensor:
        return second(torch.relu(first(norm(x))))

    net = Named(model, norm=norm, first=first, second=second)
    with torch.no_grad():
        system = fxsolve.partition(fxsolve.capture(net, torch.randn(2, 3))).system
    assert [one.name for one in system.equations] == ["block0.first", "block0.second"]


def test_what_lies_between_loops_stays_one_block() -> None:
    cell, read, write = nn.GRUCell(4, 4), nn.Linear(3, 4), nn.Linear(4, 2)

    def model(x: torch.Tensor) -> torch.Tensor:
        h = torch.zeros(2, 4)
        for t in range(12):
            h = cell(torch.tanh(read(torch.tanh(x[t]))), h)
        return write(torch.tanh(write(h) @ write.weight))

    with torch.no_grad():
        system = fxsolve.partition(fxsolve.capture(model, torch.randn(12, 2, 3))).system
    assert system.repeats
    assert not any("." in one.name for one in system.equations if isinstance(one, Block))


def test_one_module_used_again_has_blocks_of_several_names() -> None:
    layer, other = nn.Linear(4, 4), nn.Linear(4, 4)

    def model(x: torch.Tensor) -> torch.Tensor:
        return other(torch.tanh(layer(torch.relu(layer(x)))))

    with torch.no_grad():
        system = fxsolve.partition(fxsolve.capture(Named(model, layer=layer, other=other), torch.randn(2, 4))).system
    assert [one.name for one in system.equations] == ["block0.layer", "block0.layer_2", "block0.other"]


def test_a_weight_of_a_strange_name_makes_a_name_that_a_schedule_can_say() -> None:
    parts = nn.ModuleDict({"a-b c": nn.Linear(3, 3), "2nd": nn.Linear(3, 3)})

    def model(x: torch.Tensor) -> torch.Tensor:
        return parts["2nd"](torch.relu(parts["a-b c"](x)))

    with torch.no_grad():
        system = fxsolve.partition(fxsolve.capture(Named(model, parts=parts), torch.randn(2, 3))).system
    assert [one.name for one in system.equations] == ["block0.parts.a_b_c", "block0.parts.2nd"]
    verify_system(system)


@pytest.mark.slow
def test_a_program_of_ten_thousand_calls_takes_seconds() -> None:
    widths = torch.randint(3, 8, (1800,)).tolist()
    far = [int(torch.randint(max(k - 30, 0), k + 1, ())) for k in range(len(widths) - 1)]
    layers = [nn.Linear(widths[k] + widths[far[k]], widths[k + 1]) for k in range(len(far))]

    def model(x: torch.Tensor) -> torch.Tensor:
        seen = [x]
        for layer, source in zip(layers, far, strict=True):
            seen.append(torch.tanh(layer(torch.relu(torch.cat([seen[-1], seen[source]], 1)))))
        return seen[-1]

    with torch.no_grad():
        program = fxsolve.capture(Named(model, layers=nn.ModuleList(layers)), torch.randn(2, widths[0]))
    assert len(program.module.graph.nodes) > 10000
    start = time.process_time()
    system = fxsolve.partition(program).system
    assert time.process_time() - start < 10
    assert len(system.equations) > 1700


def numbered(name: str, *numbers: int) -> Block:
    """A block of calls that autograd gave these numbers."""
    graph = fx.Graph()
    x = graph.placeholder("x")
    for number in numbers:
        x = graph.call_function(torch.tanh, (x,))
        x.meta["number"] = number
    graph.output((x,))
    return Block(name, fx.GraphModule(nn.Module(), graph), (f"{name}_in",), (f"{name}_out",))


def test_a_backward_call_is_behind_the_call_of_its_number_or_the_next_one() -> None:
    forward = ForwardBlocks()
    forward.add([numbered("block0.a", 3, 5), numbered("block0.b", 8)])
    forward.add([numbered("block1.c", 20)])
    calls = numbered("back", 8, 7, 5, 3, 1, 9, 20, 21).body.graph.find_nodes(op="call_function", target=torch.tanh)
    assert forward.homes(calls) == [1, 1, 0, 0, NOWHERE, NOWHERE, 2, NOWHERE]
    assert forward.names == ["a", "b", "c"]
