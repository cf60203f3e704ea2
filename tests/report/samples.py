"""Reports made by hand: a GRU loop, a sampler solved in chunks, and a program that was left alone."""

from fxsolve.report.data import CandidateReport, Check, LoopReport, SolveReport
from fxsolve.report.report import Report
from fxsolve.solvers.certificate import Certificate
from fxsolve.solvers.solution import Solution

GRU = Report(
    program="GRULoop",
    status="emitted",
    signature="f32[1, 4096, 32], eval, no gradients",
    schedule="jacobi(cell)",
    loops=(
        LoopReport(
            name="cell",
            source="examples/gru_loop.py:31",
            length=4096,
            calls=18,
            reads=("x: slices of x, dim 1, entry 0..4095", "h: lag 1, from h0", "weight: invariant w_hh"),
            depth=4096,
            chosen=CandidateReport("jacobi(cell)", "inductor", 0.00731, "measured", "fastest of those measured"),
            rejected=(
                CandidateReport("gs(cell)", "inductor", 0.0159, "measured", "slower: 15.9 ms against 7.31 ms"),
                CandidateReport("gs(cell)", "eager", 0.0925, "derived", "4,096 steps of 22.6 us"),
                CandidateReport("original", "eager", None, "not tried", "a rolled loop was found"),
            ),
            step_seconds=22.6e-6,
            sweep_seconds=0.00061,
            sweeps=12,
        ),
    ),
    notes=("1 slot of 18 is irregular in the first step and was peeled off (examples/gru_loop.py:33)",),
    calls=73_731,
    draws=0,
    guards=1,
    seconds=(
        ("record", 1.2),
        ("functionalize", 2.9),
        ("roll", 0.21),
        ("schedule", 0.34),
        ("emit", 2.6),
        ("check", 0.0074),
    ),
    original_seconds=0.0925,
    emitted_seconds=0.00731,
    check=Check(max_difference=2.384185791015625e-07, bitwise=False, tolerance=1e-5),
    runs=(SolveReport("cell", "jacobi", 12, 4096, "converged", 2.4e-7, 4033),),
    certificates=(
        Certificate(
            Solution("cell", "jacobi", 4096, 13, "converged", 2.4e-7, 13),
            residual=5.9e-8,
            bitwise=False,
            prefix=40,
            bound=3.25e-6,
            basis="disturbance",
            rate=0.62,
        ),
    ),
)

CHUNKS = Report(
    program="MaskedAutoregressiveSamplerWithBernoulliPixels",
    status="emitted",
    signature="i64[], eval, no gradients",
    schedule="gs(jacobi(pixel[0:262]), jacobi(pixel[262:523]), jacobi(pixel[523:784]))",
    loops=(
        LoopReport(
            name="pixel",
            source="examples/made_sampling.py:58",
            length=784,
            calls=9,
            reads=("image: prefix of x0, dim 1, entries written before; step t writes entry 0..783",),
            depth=254,
            causal="proved",
            chosen=CandidateReport(
                "gs(jacobi(pixel[0:262]), jacobi(pixel[262:523]), jacobi(pixel[523:784]))",
                "eager",
                0.081,
                "measured",
                "fastest of those measured; 14 sweeps of 784 steps",
            ),
            rejected=(CandidateReport("gs(pixel)", "eager", 4.1, "derived", "784 steps of 5.23 ms"),),
            step_seconds=0.00523,
            sweep_seconds=0.0057,
            sweeps=14,
        ),
    ),
    calls=7_060,
    draws=784,
    seconds=(("record", 0.14), ("functionalize", 0.31)),
    check=Check(max_difference=0.0, bitwise=True, tolerance=1e-6),
    runs=(
        SolveReport("pixel", "jacobi", 12, 262, "fixed point", 0.0, 262),
        SolveReport("pixel", "jacobi", 16, 261, "fixed point", 0.0, 261),
        SolveReport("pixel", "jacobi", 3, 261, "finished sequentially", float("inf"), 40),
    ),
    certificates=(
        Certificate(Solution("pixel", "jacobi", 784, 28, "exact", 0.0, 784), 0.0, True, 784, 0.0, "equality"),
    ),
)

LEFT_ALONE = Report(
    program="Branchy",
    status="left alone",
    reason="the number of steps changes at every call (model.py:14: `while float(n) > 0:`), so no loop can be rolled",
    signature="f32[16, 8]",
    notes=("gradients are needed: the original program runs",),
)
