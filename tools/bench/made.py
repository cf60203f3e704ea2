"""A MADE (hidden 512, 512) of 28x28 binary digits: 100 images, pixel by pixel with in-place writes."""

from measure import measure, options, save

from made_sampling import sampler, trained


def main() -> None:
    chosen = options("made", __doc__ or "")
    sample = sampler(trained(chosen.train_seconds, chosen.device), 100)
    save(chosen, "made", [measure("MADE, D=784", sample, (), prediction=25.0, repeats=chosen.repeats)])


if __name__ == "__main__":
    main()
