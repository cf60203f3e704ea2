"""Small sequential programs, written as people write them, with the loops that must be found in them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.capture.program import Program, recorded_attribute
from fxsolve.stages import capture

T, B, N = 7, 2, 3


@dataclass(frozen=True)
class Sample:
    """A program, its inputs, and the sorted lengths of the repeats that have a carry."""

    name: str
    program: Callable[..., Any]
    inputs: tuple[Any, ...]
    recurrences: tuple[int, ...]

    def __str__(self) -> str:
        return self.name

    def captured(self) -> Program:
        with torch.no_grad():
            return capture(self.program, *self.inputs)


def sample(recurrences: tuple[int, ...], *inputs: Any) -> Callable[[Callable[..., Any]], Sample]:
    def decorate(program: Callable[..., Any]) -> Sample:
        return Sample(program.__name__, program, inputs, recurrences)

    return decorate


def numbers(*shape: int) -> Tensor:
    """The same normal numbers at every import."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


class GRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.read, self.keep = nn.Linear(N, 3 * N), nn.Linear(N, 3 * N)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 2

    def forward(self, x: Tensor) -> Tensor:
        h, states = x.new_zeros(x.shape[1:]), []
        for x_t in x:
            (a, b, c), (d, e, f) = self.read(x_t).chunk(3, -1), self.keep(h).chunk(3, -1)
            z = torch.sigmoid(b + e)
            h = (1 - z) * torch.tanh(c + torch.sigmoid(a + d) * f) + z * h
            states.append(h)
        return torch.stack(states)


gru = Sample("gru", GRU(), (numbers(T, B, N),), (T,))


@sample((T,), numbers(T, B, N), numbers(N, 4 * N), numbers(N, 4 * N))
def lstm(x: Tensor, w: Tensor, u: Tensor):
    h, c = torch.zeros(B, N), torch.zeros(B, N)
    outputs = []
    for t in range(x.shape[0]):
        i, f, g, o = (x[t] @ w + h @ u).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs, 1), (h, c)


@sample((T,), numbers(N), numbers(N))
def fibonacci(a: Tensor, b: Tensor):
    values = [a, b]
    for _ in range(T):
        values.append(torch.sin(values[-1]) + 0.5 * torch.cos(values[-2]))
    return torch.stack(values)


@sample((T,), numbers(N), numbers(N))
def every_second(a: Tensor, b: Tensor):
    values = [a, b]
    for _ in range(T):
        values.append(torch.sin(values[-2]))
    return torch.stack(values)


@sample((T,), numbers(N), numbers(N), numbers(N))
def third_order(a: Tensor, b: Tensor, c: Tensor):
    for _ in range(T):
        a, b, c = b, c, torch.sin(c) - 0.5 * torch.cos(a)
    return a, b, c


@sample((T,), numbers(B, T, N))
def stacked_last(x: Tensor):
    h, states = torch.zeros(B, N), []
    for t in range(T):
        h = torch.tanh(h + x[:, t]) * 0.9
        states.append(h)
    return torch.stack(states, -1), torch.stack(states, dim=1), torch.cat(states, -1), torch.cat(states)


@sample((T,), numbers(B, T, N))
def strided(x: Tensor):
    h, states = torch.zeros(B, N), []
    for t in range(T):
        h = torch.tanh(h + x[:, t]) * 0.9
        states.append(h)
    return torch.stack(states[::2]), torch.cat(states[1::3], 1), torch.stack(states[::-1]), torch.stack(states[::-2], 1)


@sample((T,), numbers(T, B, N))
def reversed_time(x: Tensor):
    h, states = torch.zeros(B, N), []
    for t in reversed(range(T)):
        h = torch.tanh(h + x[t]) * 0.9
        states.append(h)
    states.reverse()
    return torch.stack(states)


@sample((T,), numbers(T, B, N), numbers(B, N))
def with_initial(x: Tensor, h0: Tensor):
    h, states = h0, []
    for x_t in x.unbind(0):
        h = torch.tanh(h + x_t) * 0.9
        states.append(h)
    return torch.stack([h0, *states]), torch.cat([h0, *states[:-1]], dim=1)


@sample((T, T), numbers(T, B, N))
def two_directions(x: Tensor):
    h, forward = torch.zeros(B, N), []
    for t in range(T):
        h = torch.tanh(h + x[t]) * 0.9
        forward.append(h)
    h, backward = torch.zeros(B, N), []
    for t in reversed(range(T)):
        h = torch.sin(h - x[t]) * 0.8
        backward.append(h)
    return torch.cat([torch.stack(forward), torch.stack(backward[::-1])], -1)


@sample((T, T), numbers(T, B, N))
def two_layers(x: Tensor):
    for scale in (0.9, 0.7):
        h, states = torch.zeros(B, N), []
        for x_t in x:
            h = torch.tanh(h * scale + x_t)
            states.append(h)
        x = torch.stack(states)
    return x


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(N, N) for _ in range(T))
        generator = torch.Generator().manual_seed(2)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 2

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return x


layers = Sample("layers", Layers(), (numbers(B, N),), (T,))


@sample((T - 1,), numbers(T, B, N))
def peeled_first(x: Tensor):
    """The state is the first input itself, so the first step differs."""
    h = torch.tanh(x[0])
    states = [h]
    for t in range(1, T):
        h = torch.tanh(h * 0.5 + x[t])
        states.append(h)
    return torch.stack(states)


@sample((T - 1,), numbers(T, B, N))
def first_step_if(x: Tensor):
    h, states = None, []
    for t in range(T):
        h = torch.tanh(x[t]) if h is None else torch.tanh(h * 0.5 + x[t])
        states.append(h)
    return torch.stack(states)


@sample((T,), numbers(B, T * N))
def chunked(x: Tensor):
    h, states = torch.zeros(B, N), []
    for part in x.chunk(T, dim=1):
        h = torch.tanh(h * 0.5 + part)
        states.append(h)
    return torch.cat(states, 1)


@sample((T,), numbers(B, T * N))
def split_parts(x: Tensor):
    h = torch.zeros(B, N)
    for part in torch.split(x, N, dim=-1):
        h = torch.tanh(h * 0.5 + part)
    return h


@sample((T,), numbers(B, T))
def columns_written(noise: Tensor):
    """Each column is drawn from the sum of those before it."""
    x = torch.zeros(B, T)
    for i in range(T):
        x[:, i] = torch.tanh(x.sum(1) + noise[:, i])
    return x


@sample((T,), numbers(T, B))
def rows_written(noise: Tensor):
    x = torch.zeros(T, B)
    for i in range(T):
        x[i] = torch.sin(x.sum(0) + noise[i])
    return x


@sample((T,), numbers(B, T))
def slices_written(noise: Tensor):
    x = torch.zeros(B, T)
    for i in range(T):
        x[:, i : i + 1] = torch.cos(x.sum(1, keepdim=True) + noise[:, i : i + 1])
    return x


@sample((T,), numbers(T, B, N))
def neighbour_read(x: Tensor):
    """A buffer of states, each read from the one before."""
    y = torch.zeros(B, T + 1, N)
    for t in range(T):
        y[:, t + 1] = torch.tanh(y[:, t] + x[t])
    return y


@sample((T,), numbers(T, B, N))
def pure_output_buffer(x: Tensor):
    """A buffer that is written and never read."""
    h, y = torch.zeros(B, N), torch.empty(B, N, T)
    for t in range(T):
        h = torch.tanh(h + x[t]) * 0.9
        y[..., t] = h
    return y, h


@sample((T,), numbers(T, B, N))
def backward_buffer(x: Tensor):
    y = torch.zeros(T, B, N)
    h = torch.zeros(B, N)
    for t in range(T - 1, -1, -1):
        h = torch.tanh(h + x[t]) * 0.9
        y[t] = h
    return y


@sample((T,), numbers(B, N))
def time_as_number(h: Tensor):
    for t in range(T):
        h = torch.sin(h * t) + t * 0.1
    return h


@sample((T,), numbers(B, N))
def euler(x: Tensor):
    t, dt = 0.0, 0.1
    for _ in range(T):
        x = x + dt * torch.sin(x + t)
        t += dt
    return x


@sample((T,), numbers(B, N))
def powers(x: Tensor):
    total = x
    for k in range(2, T + 2):
        total = torch.tanh(total) + x**k / k
    return total


@sample((T,), numbers(B, N))
def step_compared(x: Tensor):
    position = torch.arange(N)
    for t in range(T):
        x = torch.where(position < t, torch.sin(x), torch.cos(x * 2))
    return x


@sample((T,), numbers(B, N))
def fixed_point_loop(x: Tensor):
    y = torch.zeros(B, N)
    for _ in range(T):
        y = torch.cos(y * 0.5 + x)
    return y


@sample((T,), torch.randint(0, 5, (T, B), generator=torch.Generator().manual_seed(3)))
def automaton(x: Tensor):
    state, states = torch.zeros(B, dtype=torch.int64), []
    for x_t in x:
        state = (3 * state + x_t) % 7
        states.append(state)
    return torch.stack(states)


@sample((T,), numbers(T, B, N))
def several_outputs(x: Tensor):
    """Steps with two outputs (max along a dimension), picked steps, and the last one."""
    h, values, places = torch.zeros(B, N), [], []
    for x_t in x:
        best, place = (h + x_t).max(dim=-1)
        h = torch.tanh(h * 0.5 + best.unsqueeze(-1) + x_t)
        values.append(best)
        places.append(place)
    return torch.stack(values), torch.stack(places, 1), values[2], values[-1]


@sample((T,), numbers(T, B, N))
def steps_used_again(x: Tensor):
    """Single steps of the loop feed later arithmetic."""
    h, states = torch.zeros(B, N), []
    for x_t in x:
        h = torch.tanh(h * 0.5 + x_t)
        states.append(h)
    return states[0] + states[3] * states[T - 1], sum(states[1:4])


@sample((T,), numbers(T, B, N))
def list_returned(x: Tensor):
    h, states = torch.zeros(B, N), []
    for x_t in x:
        h = torch.tanh(h * 0.5 + x_t)
        states.append(h)
    return states


@sample((T,), numbers(T, B, N), numbers(T, B, N).abs() > 0.3)
def masked(x: Tensor, mask: Tensor):
    h, states = torch.zeros(B, N), []
    for t in range(T):
        new = torch.tanh(h * 0.5 + x[t])
        h = torch.where(mask[t], new, h)
        states.append(h)
    return torch.stack(states)


@sample((T,), numbers(T, B, N))
def carried_tuple(x: Tensor):
    """Two states that swap places, and a counter kept as a tensor."""
    a, b, count = torch.zeros(B, N), torch.ones(B, N), torch.zeros(())
    for x_t in x:
        count = count + 1
        a, b = b + x_t / count, torch.tanh(a)
    return a, b, count


@sample((T,), numbers(2 * T, B, N))
def even_entries(x: Tensor):
    h, states = torch.zeros(B, N), []
    for t in range(0, 2 * T, 2):
        h = torch.tanh(h * 0.5 + x[t] * x[t + 1])
        states.append(h)
    return torch.stack(states)


@sample((T,), numbers(N, N), numbers(B, N))
def power_iteration(a: Tensor, v: Tensor):
    for _ in range(T):
        v = v @ a
        v = v / v.norm(dim=-1, keepdim=True)
    return v


@sample((T,), numbers(T, B, N), list(reversed(range(T))))
def permuted_reads(x: Tensor, order: list[int]):
    h = torch.zeros(B, N)
    for t in [3, 0, 5, 1, 6, 2, 4]:
        h = torch.tanh(h * 0.5 + x[t] - x[order[t]])
    return h


@sample((), numbers(T, B, N))
def independent_steps(x: Tensor):
    return torch.stack([torch.tanh(x_t @ x_t.T).sum(0) * 2 for x_t in x])


@sample((T,), numbers(T, B, N))
def accumulated_in_place(x: Tensor):
    h = torch.zeros(B, N)
    for x_t in x:
        h += torch.tanh(x_t - h)
        h.mul_(0.5)
    return h


@sample((T,), numbers(B, N), numbers(T))
def scalar_entries(x: Tensor, steps: Tensor):
    for i in range(T):
        x = x + steps[i] * torch.sin(x)
    return x


SAMPLES = [value for value in list(globals().values()) if isinstance(value, Sample)]


def given_values(program: Program) -> dict[str, Tensor]:
    """A value for every input of the system of `program`: its example, and what the model owned before it."""
    arriving = iter((*program.example.inputs, *program.example.noise, *program.example.cotangents))
    return {
        node.name: next(arriving) if node.op == "placeholder" else recorded_attribute(program, str(node.target))
        for node in program.module.graph.nodes
        if node.op in ("placeholder", "get_attr")
    }
