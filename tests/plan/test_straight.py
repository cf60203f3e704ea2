"""Schedules over blocks: every method gives the values of the network, and its text says what runs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import fxsolve
from fxsolve.errors import ScheduleError
from fxsolve.plan.block_names import name_runs, names_between
from fxsolve.plan.schedule import Apply, GaussSeidel, JacobiBlocks, LevelsBlocks, block_methods
from fxsolve.plan.text import parse_schedule
from fxsolve.plan.verify import verify_schedule
from fxsolve.solvers.stop import Stop
from tests.straight import SMALL, Named, network

HYBRIDS = {
    "jacobi": "gs(jacobi(l0..l4))",
    "gs of jacobi": "gs(jacobi(l0..l2), jacobi(l3, l4))",
    "jacobi of gs": "jacobi(gs(l0, l1), l2, gs(l3, l4))",
    "levels": "levels(l0..l4)",
    "levels of gs": "gs(levels(gs(l0, l1), l2), l3, l4)",
    "one after another": "gs(l0..l4)",
}


WIDTHS = (3, 5, 2, 4, 3)  # no two layers are alike, so they are no loop


class Dense(nn.Module):
    """Five layers, each of all before it."""

    def __init__(self) -> None:
        super().__init__()
        for k in range(5):
            self.add_module(f"l{k}", nn.Linear(4 + sum(WIDTHS[:k]), WIDTHS[k]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = [x]
        for k in range(5):
            seen.append(torch.tanh(getattr(self, f"l{k}")(torch.cat(seen, 1))))
        return seen[-1] * seen[2].sum()


def dense() -> tuple[nn.Module, torch.Tensor]:
    return Dense(), torch.randn(2, 4)


def system_of(model: nn.Module, x: torch.Tensor):
    with torch.no_grad():
        return fxsolve.partition(fxsolve.capture(model, x)).system


def compiled(model, x: torch.Tensor, text: str):
    fast = fxsolve.compile(model, backend="eager", schedule=text)
    with torch.no_grad():
        fast(x)
        return fast, fast(x)


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("text", ["jacobi", "levels"])
@pytest.mark.parametrize("name", SMALL)
def test_by_name_a_method_solves_every_network(name: str, text: str) -> None:
    model, x = network(name)
    fast, y = compiled(model, x, text)
    report = fast.report()
    assert report.status == "emitted"
    assert f"{text}(block0" in report.schedule
    with torch.no_grad():
        assert torch.allclose(y, model(x), rtol=0, atol=1e-10)
    for one in report.runs:
        assert one.sweeps <= one.length
    assert all(one.bitwise and one.bound == 0 for one in report.certificates if one.solution.name.startswith("block0"))


@pytest.mark.parametrize("name", SMALL)
def test_single_precision_is_right_to_1e_4_within_as_many_sweeps_as_blocks_are_deep(name: str) -> None:
    model, x = network(name)
    fast = fxsolve.compile(model, backend="eager", schedule="jacobi", tolerance=1e-6)
    with torch.no_grad():
        fast(x)
        assert torch.allclose(fast(x), model(x), rtol=0, atol=1e-4)
    report = fast.report()
    assert report.status == "emitted"
    assert report.structure is not None
    assert report.runs
    assert all(run.sweeps <= report.structure.depth for run in report.runs)


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("text", HYBRIDS.values(), ids=HYBRIDS)
def test_hybrids_are_nesting(text: str) -> None:
    model, x = dense()
    system = system_of(model, x)
    schedule = parse_schedule(text, system)
    verify_schedule(schedule, system)
    assert parse_schedule(str(schedule), system) == schedule
    if not any(block_methods(schedule)):
        return
    fast, y = compiled(model, x, text)
    assert fast.report().schedule == str(schedule)
    with torch.no_grad():
        assert torch.allclose(y, model(x), rtol=0, atol=1e-12)


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("text", [HYBRIDS["jacobi"], HYBRIDS["jacobi of gs"], HYBRIDS["levels"], "jacobi"])
def test_gradients_are_those_of_the_network(text: str) -> None:
    model, x = dense()
    x.requires_grad_()
    fast = fxsolve.compile(model, backend="eager", schedule=text)
    for _ in range(2):
        found = torch.autograd.grad(fast(x).square().sum(), [x, *model.parameters()])
    expected = torch.autograd.grad(model(x).square().sum(), [x, *model.parameters()])
    assert fast.report().status == "emitted"
    assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in zip(found, expected, strict=True))


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("text", ["jacobi", "levels"])
@pytest.mark.parametrize("name", [*SMALL, pytest.param("resnet50", marks=pytest.mark.slow)])
def test_by_name_a_method_gives_the_gradients_of_every_network(name: str, text: str) -> None:
    """In both passes; as many sweeps as blocks are deep are enough."""
    model, x = network(name)
    x.requires_grad_()
    fast = fxsolve.compile(model, backend="eager", schedule=text)
    fast(x)
    wanted = [x, *model.parameters()]
    found = torch.autograd.grad(fast(x).square().sum(), wanted)
    expected = torch.autograd.grad(model(x).square().sum(), wanted)
    for one, right in zip(found, expected, strict=True):
        assert torch.allclose(one, right, rtol=1e-10, atol=1e-10 * float(right.abs().max()))
    report = fast.report()
    assert report.status == "emitted"
    assert f"{text}(block" in report.schedule
    assert "_backward" in report.schedule.partition(f"{text}(block")[2]
    backward = [run for run in report.runs if "_backward" in run.loop]
    assert bool(backward) == (text == "jacobi")
    assert all(run.sweeps <= run.length and run.status != "finished sequentially" for run in backward)


BACKWARD = {
    "jacobi": "gs(jacobi(back.l4..back.l0))",
    "gs of jacobi": "gs(jacobi(back.l4..back.l2), jacobi(back.l1, back.l0))",
    "jacobi of gs": "jacobi(gs(back.l4, back.l3), back.l2, gs(back.l1, back.l0))",
    "levels": "levels(back.l4..back.l0)",
    "both passes": "gs(jacobi(l0..l4), levels(gs(back.l4, back.l3), back.l2), jacobi(back.l1, back.l0))",
}


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("text", BACKWARD.values(), ids=BACKWARD)
def test_the_backward_pass_has_the_same_schedules(text: str) -> None:
    model, x = dense()
    x.requires_grad_()
    text = text.replace("back.", "block0_backward.")
    fast = fxsolve.compile(model, backend="eager", schedule=text)
    fast(x)
    found = torch.autograd.grad(fast(x).square().sum(), [x, *model.parameters()])
    expected = torch.autograd.grad(model(x).square().sum(), [x, *model.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in zip(found, expected, strict=True))
    report = fast.report()
    assert report.status == "emitted"
    assert text.rpartition("(")[2].rstrip(")") in report.schedule
    swept = [run for run in report.runs if "_backward" in run.loop]
    assert len(swept) == text.replace("jacobi(l0", "").count("jacobi(")
    assert all(run.sweeps <= run.length and run.status != "finished sequentially" for run in swept)
    system = fxsolve.partition(fxsolve.capture(model, x)).system
    schedule = parse_schedule(report.schedule, system)
    verify_schedule(schedule, system)
    assert str(schedule) == report.schedule


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("name", SMALL)
def test_by_itself_nothing_is_swept_and_the_report_says_why(name: str, grad: bool) -> None:
    """On one unit, sweeps do the work of a network more than once: there is nothing to measure."""
    model, x = network(name)
    fast = fxsolve.compile(model, backend="eager")
    with torch.set_grad_enabled(grad):
        fast(x)
        assert torch.equal(fast(x), model(x))
    report = fast.report()
    assert report.status == "left alone"
    assert report.reason.startswith("sequential is best here")
    assert not report.runs


def test_by_name_both_passes_are_swept() -> None:
    model, x = dense()
    fast = fxsolve.compile(model, backend="eager", schedule="jacobi")
    for _ in range(2):
        fast(x.requires_grad_()).sum().backward()
    assert any("backward" in run.loop for run in fast.report().runs)
    assert any("backward" not in run.loop for run in fast.report().runs)


def test_a_tolerance_ends_sweeps_early() -> None:
    layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(12))
    for layer in layers:
        layer.weight.data *= 0.02

    def model(x: torch.Tensor) -> torch.Tensor:
        seen = [x]
        for k, layer in enumerate(layers):
            seen.append(torch.tanh(layer(seen[-1])) + seen[0 if k % 3 else k // 2].sin())
        return seen[-1]

    net, x = Named(model, layers=layers), torch.randn(2, 4)
    fast, y = compiled(net, x, "jacobi(layers.0..layers.11, atol=1e-6)")
    (run,) = fast.report().runs
    assert run.status == "converged"
    assert run.sweeps < 12
    assert torch.allclose(y, net(x), atol=1e-4)
    (certificate,) = fast.report().certificates
    assert certificate.bound is not None
    assert certificate.bound < 1e-3


def test_too_few_sweeps_are_finished_in_order() -> None:
    model, x = dense()
    fast, y = compiled(model, x, "jacobi(l0..l4, max_sweeps=2)")
    (run,) = fast.report().runs
    assert (run.sweeps, run.status, run.prefix) == (2, "finished sequentially", 5)
    with torch.no_grad():
        assert torch.equal(y, model(x))


def test_a_kernel_that_refuses_zeros_is_no_error() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)

    def model(x: torch.Tensor) -> torch.Tensor:
        y = first(x)
        return second(torch.linalg.cholesky(y @ y.T + torch.eye(3) - 1e-9 / (y * y).sum()))

    net, x = Named(model, first=first, second=second), torch.randn(3, 3)
    system = system_of(net, x)
    assert len(system.equations) > 1
    fast, y = compiled(net, x, "jacobi")
    assert fast.report().status == "emitted"
    with torch.no_grad():
        assert torch.allclose(y, net(x))


def test_indices_made_of_what_is_not_solved_are_not_swept() -> None:
    first, second, third, table = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2), nn.Embedding(4, 3)

    def model(x: torch.Tensor) -> torch.Tensor:
        return third(table(torch.sigmoid(second(first(x).exp())).sum(1).long()))

    net, x = Named(model, first=first, second=second, third=third, table=table), torch.randn(3, 3)
    fast, y = compiled(net, x, "jacobi")
    assert any("makes integers of what is not solved yet" in note for note in fast.report().notes)
    with torch.no_grad():
        assert torch.equal(y, net(x))


def test_places_of_the_largest_values_are_swept() -> None:
    """They are in range, whatever the values are."""
    layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))
    last = nn.Linear(3, 2)

    def model(x: torch.Tensor) -> torch.Tensor:
        values, places = torch.tanh(layers[1](torch.sin(layers[0](x)))).topk(3)
        return last(values + x.gather(1, places))

    net, x = Named(model, layers=layers, last=last), torch.randn(3, 6)
    fast, y = compiled(net, x, "jacobi")
    assert fast.report().runs
    with torch.no_grad():
        assert torch.equal(y, net(x))


def test_blocks_that_are_compared_are_solved_to_the_last_bit() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)

    def model(x: torch.Tensor) -> torch.Tensor:
        y = first(x)
        return second(torch.where(y == y.amax(1, keepdim=True), y, 0.0))

    net, x = Named(model, first=first, second=second), torch.randn(3, 3)
    fast, y = compiled(net, x, "jacobi(first, second, atol=0.1)")
    assert any("are solved to the last bit" in note for note in fast.report().notes)
    with torch.no_grad():
        assert torch.equal(y, net(x))


def test_a_number_that_is_not_finite_on_the_way_does_no_harm() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)

    def model(x: torch.Tensor) -> torch.Tensor:
        y = torch.exp(first(x))
        return second(torch.log(y) / y)

    net, x = Named(model, first=first, second=second), torch.randn(3, 3)
    _, y = compiled(net, x, "jacobi")
    with torch.no_grad():
        assert torch.equal(y, net(x))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jacobi(l0..l9)", "no equation"),
        ("jacobi(l3..block1)", "no equation|does not count up or down"),
        ("jacobi(l3..l1)", "has not solved before it"),
        ("jacobi(l0, l2, l1, l3, l4)", "has not solved before it"),
        ("gs(jacobi(l0..l2), jacobi(l2..l4))", "solved twice"),
        ("jacobi(l0, jacobi(l1, l2))", "expected blocks"),
        ("jacobi(l0..l4, window=3)", "expected atol"),
        ("levels(l0..l4, atol=1)", "expected"),
        ("newton(l0..l4)", "no equation|no steps"),
        ("jacobi(l0..l4, max_sweeps=0)", "at least one sweep"),
        ("jacobi()", "expected"),
        ("gs(jacobi(l0, l1", "expected"),
        ("jacobi(gs", "expected"),
        ("jacobi(gs(", "expected"),
        ("jacobi(l0,", "expected"),
        ("levels(l0..", "expected|no equation"),
    ],
)
def test_slips_are_shown(text: str, message: str) -> None:
    system = system_of(*dense())
    with pytest.raises(ScheduleError, match=message):
        verify_schedule(parse_schedule(text, system), system)


def test_a_method_by_name_that_solves_no_blocks_leaves_a_network_alone() -> None:
    model, x = dense()
    for text in ("newton", "gs", "auto"):
        fast, _ = compiled(model, x, text)
        assert fast.report().status == "left alone"


NAMES = tuple(f"block0.l{k}" for k in range(5))


@st.composite
def schedules(draw: st.DrawFn) -> GaussSeidel:
    """Any schedule of five blocks in order, in runs that are swept, taken by levels, or in order."""
    items: list = []
    rest = list(NAMES)
    while rest:
        length = draw(st.integers(1, len(rest)))
        run, rest = rest[:length], rest[length:]
        cut = draw(st.integers(0, length))
        row = (GaussSeidel(tuple(map(Apply, run[:cut]))),) if cut else ()
        children = (*row, *map(Apply, run[cut:]))
        stop = draw(st.sampled_from([None, Stop(1e-6, 0.0), Stop(0.0, 0.5, 3)]))
        methods = [(JacobiBlocks(children, stop),), (LevelsBlocks(children),)] if length > 1 else []
        items += draw(st.sampled_from([*methods, children]))
    return GaussSeidel(tuple(items))


@pytest.fixture(scope="module")
def five_blocks():
    return system_of(*dense())


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_text_of_a_schedule_reads_as_itself(five_blocks, data: st.DataObject) -> None:
    schedule = data.draw(schedules())
    assert parse_schedule(str(schedule), five_blocks) == schedule
    verify_schedule(schedule, five_blocks)


def test_names_that_count_down_are_short_too() -> None:
    assert name_runs(["a.3", "a.2", "a.1", "b.1"]) == ["a.3..a.1", "b.1"]
    assert name_runs(["a.1", "a.2", "a.1", "a.0"]) == ["a.1", "a.2", "a.1", "a.0"]
    assert names_between("a.3", "a.1") == ["a.3", "a.2", "a.1"]


@given(st.lists(st.sampled_from(["a.1", "a.2", "a.3", "a.4", "a.01", "b", "a.10", "c3", "c4", "c5"]), max_size=12))
def test_runs_of_names_stand_for_themselves(names: list[str]) -> None:
    texts = [text.partition("..") for text in name_runs(names)]
    assert [name for first, dots, last in texts for name in (names_between(first, last) if dots else [first])] == names
