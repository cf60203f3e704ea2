"""Masked autoregressive flows of zuko and nflows, trained on digits: sampling and inversion of a batch of 64."""

from measure import Case, measure, options, save

from flow_sampling import LIBRARIES, programs

PREDICTIONS = {("zuko", 8): 3.5, ("nflows", 8): 2.5, ("zuko", 16): 8.0, ("nflows", 16): 8.0}


def main() -> None:
    chosen = options("flows", __doc__ or "")
    cases: list[Case] = []
    for side in (8, 16):
        for library in LIBRARIES:
            sample, invert, z = programs(library, side, chosen.train_seconds, chosen.device)
            expected = PREDICTIONS[library, side]
            title = f"{library}, D={side * side}"
            cases += [
                measure(f"{title}, sample", sample, (), prediction=expected, repeats=chosen.repeats),
                measure(f"{title}, invert", invert, (z,), prediction=expected, repeats=chosen.repeats),
            ]
    save(chosen, "flows", cases)


if __name__ == "__main__":
    main()
