"""The code of an emitted module, with that of the loops in it."""

from torch import fx


def code_of(module: fx.GraphModule) -> str:
    """The code of the module, and behind it that of every graph inside, under the name by which it is reached."""
    bodies = {name: part for name, part in module.named_modules() if name and isinstance(part, fx.GraphModule)}
    return "\n".join([module.code.strip("\n"), *(_part(name, part) for name, part in bodies.items())]) + "\n"


def _part(name: str, part: fx.GraphModule) -> str:
    return f"\n\n# self.{name}\n{part.code.strip()}"
