"""The command line before PyTorch is imported, which takes seconds: what was typed is read, and refused, at once.

`arguments` reads it, `topics` prints the documents of `fxsolve help`; everything else is done by `fxsolve.cli`, which
is imported only then.
"""

import sys
from collections.abc import Sequence

from fxsolve_command.arguments import UsageError, completion, parse
from fxsolve_command.topics import UnknownTopicError, show


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command: 0 if it worked, 1 if --check found a difference, 2 if something given cannot be used."""
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
        if options.command == "help":
            show(options.topic)
            return 0
        if options.command == "completion":
            print(completion(options.shell))
            return 0
    except (UsageError, UnknownTopicError) as error:
        print(f"fxsolve: {error}", file=sys.stderr)
        return 2
    from fxsolve.cli import run

    return run(options)
