"""A GRU as a Python loop: the automatic choice against the loop as written and against nn.GRU."""

from torch import Tensor, nn

from measure import Case, measure, options, save

from comparing import Program
from gru_loop import LoopGRU, example

PREDICTIONS = {(4096, 1, 32): 3.0, (1024, 16, 64): 0.95}


def library_gru(model: LoopGRU) -> Program:
    """nn.GRU with the same weights."""
    names = {"from_input.": "ih_l0", "from_state.": "hh_l0"}
    weights = model.state_dict()
    gru = nn.GRU(model.size, model.size).to(model.from_input.weight.device)
    gru.load_state_dict({f"{kind}_{to}": weights[at + kind] for at, to in names.items() for kind in ("weight", "bias")})

    def run(x: Tensor) -> Tensor:
        return gru(x)[0]

    return run


def main() -> None:
    chosen = options("gru", __doc__ or "")
    cases: list[Case] = []
    for (steps, batch, size), expected in PREDICTIONS.items():
        model, x = example(steps, batch, size, chosen.device)
        name = f"T={steps}, B={batch}, H={size}"
        rivals = {"nn.GRU": library_gru(model)}
        cases.append(measure(name, model, (x,), prediction=expected, repeats=chosen.repeats, rivals=rivals))
    save(chosen, "gru", cases)


if __name__ == "__main__":
    main()
