"""Samplers that read what they drew before: the automatic choice against the loop as written and caches by hand.

Image models take many minutes as written. How many sweeps the schedules need is counted for five seeds; for image
models, sweeps over rows too, as Song et al. do (ICML 2021, arXiv 2002.03629, table 1).
"""

import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fxsolve.errors import FxSolveError
from fxsolve.solvers.solution import Solution, observe
from measure import Case, measure, options, save

import by_hand.gpt
import by_hand.pixelcnn
import by_hand.tarflow
import by_hand.wavenet
import gpt_sampling
import networks.made
import pixelcnn_sampling
import wavenet_sampling
from comparing import Program, compiled, timed
from digits import dequantiser, grey
from networks.tarflow import TarFlow
from training import fit, kept

BY_HAND = "by hand"
SEEDS = range(5)
SCHEDULES = ("jacobi",)


@dataclass(frozen=True)
class Subject:
    """A sampler, and one with caches written by hand if there is one, which draws the same up to `tolerance`.

    `prediction` is the least ratio to `baseline` that is expected; a `row` of a picture has so many steps.
    """

    name: str
    program: Program
    prediction: float
    inputs: tuple[Tensor, ...] = ()
    by_hand: Program | None = None
    baseline: str = "eager"
    repeats: int = 7
    tolerance: float = 0.0
    row: int | None = None


def gpt(seconds: float, is_quick: bool) -> Iterator[Subject]:
    model, steps = gpt_sampling.trained(seconds), 15 if is_quick else gpt_sampling.BLOCK - 1
    loop, cached = gpt_sampling.sampler(model, steps), by_hand.gpt.sampler(model, steps)
    for samples in (1, 8):
        inputs = (gpt_sampling.prompt(samples),)
        yield Subject(f"GPT, {steps + 1} tokens, B={samples}", loop, 0.9, inputs, cached, BY_HAND)
        on_canvas = canvas(model, steps)
        yield Subject(f"GPT on a canvas, {steps + 1} tokens, B={samples}", on_canvas, 0.9, inputs, cached, BY_HAND)


def canvas(model: gpt_sampling.GPT, steps: int, temperature: float = 0.9, top_k: int = 20) -> Program:
    """As `gpt_sampling.sampler`, into zeros of the final size, all of which the model reads in every step."""

    def generate(idx: Tensor) -> Tensor:
        given = idx.shape[1]
        tokens = idx.new_zeros(len(idx), given + steps)
        tokens[:, :given] = idx
        with torch.no_grad():
            for t in range(given, given + steps):
                logits = model(tokens)[:, t - 1] / temperature
                best, _ = torch.topk(logits, top_k)
                logits[logits < best[:, [-1]]] = -float("inf")
                tokens[:, t] = torch.multinomial(F.softmax(logits, dim=-1), 1)[:, 0]
        return tokens

    return generate


def wavenet(seconds: float, is_quick: bool) -> Iterator[Subject]:
    model, steps = wavenet_sampling.trained(seconds), 40 if is_quick else wavenet_sampling.STEPS
    loop, queued = wavenet_sampling.sampler(model, 1, steps), by_hand.wavenet.sampler(model, 1, steps)
    yield Subject(f"WaveNet, T={steps}", loop, 0.9, (), queued, BY_HAND, repeats=3)


def pixelcnn(channels: int, side: int, samples: int, least: float, seconds: float, is_quick: bool) -> Iterator[Subject]:
    side = 8 if is_quick else side
    model = pixelcnn_sampling.trained(channels, side, seconds)
    loop = pixelcnn_sampling.sampler(model, samples, channels, side)
    cached = by_hand.pixelcnn.sampler(model, samples, channels, side)
    name = f"PixelCNN++, {channels}x{side}x{side}, B={samples}"
    yield Subject(name, loop, least, (), cached, repeats=1, tolerance=1e-4, row=side)


def tarflow(seconds: float, is_quick: bool) -> Iterator[Subject]:
    side = 8 if is_quick else 16
    torch.manual_seed(0)
    flow, levels = TarFlow(side * side, 1), grey(side)
    dequantise = dequantiser(levels)

    def train() -> float:
        return fit(flow, lambda x: flow(dequantise(x)[:, :, None]).mean(), levels, 10**6, seconds, "TarFlow", batch=10)

    kept(flow, train, f"tarflow_{side}_{seconds:g}s")
    z = torch.randn(4, side * side, 1)
    cached = partial(by_hand.tarflow.inverse, flow)
    yield Subject(
        f"TarFlow, T={side * side}, 4 blocks, B=4", flow.inverse, 5.0, (z,), cached, repeats=3, tolerance=1e-3
    )


def made(features: int, least: float, seconds: float, is_quick: bool) -> Iterator[Subject]:
    features = features // 16 if is_quick else features
    torch.manual_seed(0)
    model = networks.made.LogisticMADE(features)
    images = pixelcnn_sampling.digits(28) if features < 3072 else pixelcnn_sampling.patches(32)
    data = images.flatten(1)[:, :features]

    def train() -> float:
        return fit(model, model.negative_log_likelihood, data, 10**6, seconds, f"MADE, D={features}")

    kept(model, train, f"made_{features}_{seconds:g}s")
    yield Subject(f"MADE, logistic, D={features}, B=100", networks.made.sampler(model, 100, features), least, repeats=3)


SUBJECTS: dict[str, Callable[[float, bool], Iterator[Subject]]] = {
    "gpt": gpt,
    "wavenet": wavenet,
    "tarflow": tarflow,
    "made784": partial(made, 784, 30.0),
    "made3072": partial(made, 3072, 27.0),
    "digits": partial(pixelcnn, 1, 28, 16, 10.0),
    "colour": partial(pixelcnn, 3, 32, 4, 5.0),
}


def solved(program: Program, inputs: tuple[Tensor, ...], seed: int) -> list[Solution]:
    torch.manual_seed(seed)
    with torch.no_grad(), observe() as seen:
        program(*inputs)
    return seen


def sweeps(program: Program, inputs: tuple[Tensor, ...]) -> str:
    """What the loop took that took most sweeps, for all seeds."""
    found = [max((one.sweeps for one in solved(program, inputs, seed)), default=0) for seed in SEEDS]
    return f"K mean {statistics.mean(found):.1f}, max {max(found)}, {len(found)} seeds"


def over_rows(program: Any, inputs: tuple[Tensor, ...], row: int) -> dict[str, str]:
    """By name, the schedule of a program that sweeps all steps with rows of a picture, or as many steps, instead."""
    loops = "|".join({one.name for one in solved(program, inputs, 0) if one.sweeps > 2})
    forms = {
        "GS-Jacobi, rows": rf"jacobi(\1:{row}])",
        "Jacobi-GS, rows": rf"jacobi(gs(\1:{row}]))",
        "a sliding window": rf"jacobi(\1], window={row})",
        "a lookahead": rf"incremental(\1], lookahead={row})",
    }
    whole = rf"jacobi\(((?:{loops})\[0:\d+)\]\)"
    return {name: re.sub(whole, form, str(program.schedule)) for name, form in forms.items()}


def asked(program: Program, inputs: tuple[Tensor, ...]) -> dict[str, Program]:
    """The program by each of the schedules that are asked for by name; one that it may not have is told instead."""
    found: dict[str, Program] = {}
    for schedule in SCHEDULES:
        try:
            fast, _ = compiled(program, inputs, schedule)
        except FxSolveError as error:
            print(f"{schedule}: {error}")
        else:
            found[schedule] = fast
            print(f"{schedule} ran as {fast.schedule}")
    return found


def count_over_rows(subject: Subject, program: Program, row: int) -> None:
    """Print the sweeps of the schedules over rows; one of Jacobi-GS runs a whole row of steps."""
    for name, schedule in over_rows(program, subject.inputs, row).items():
        fast, _ = compiled(subject.program, subject.inputs, schedule)
        print(f"{name}: {sweeps(fast, subject.inputs)}")


def check(subject: Subject) -> None:
    """Raise `RuntimeError` unless what is drawn by hand is what the loop draws."""
    if subject.by_hand is None:
        return
    expected, found = (timed(program, subject.inputs)[0] for program in (subject.program, subject.by_hand))
    off = (expected - found).abs().max().item()
    print(f"{subject.name}: drawn by hand, largest difference {off:.1e}")
    if off > subject.tolerance:
        raise RuntimeError(f"{subject.name}: by hand is off by {off:.1e}")


def case(subject: Subject, repeats: int) -> Case:
    """One sampler through the automatic choice, by the schedules that are asked for, and by hand."""
    check(subject)
    named = asked(subject.program, subject.inputs)
    for schedule, program in named.items():
        print(f"{schedule}: {sweeps(program, subject.inputs)}")
    if subject.row is not None and "jacobi" in named:
        count_over_rows(subject, named["jacobi"], subject.row)
    rivals = named | ({BY_HAND: subject.by_hand} if subject.by_hand is not None else {})
    found = measure(
        subject.name,
        subject.program,
        subject.inputs,
        prediction=subject.prediction,
        repeats=min(repeats, subject.repeats),
        rivals=rivals,
    )
    return replace(found, baseline=subject.baseline)


def main() -> None:
    chosen = options("prefix", __doc__ or "", choices=tuple(SUBJECTS))
    subjects = (one for name in chosen.only for one in SUBJECTS[name](chosen.train_seconds, chosen.quick))
    save(chosen, "prefix", [case(subject, chosen.repeats) for subject in subjects])


if __name__ == "__main__":
    main()
