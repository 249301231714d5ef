"""Services by hand: ``python -m tests.services up [NAME...] | down [NAME...] | status``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.services import base

USAGE = f"usage: python -m tests.services up|down|status [{' '.join(base.SERVICES)}]"


def main(words: Sequence[str]) -> int:
    """Do what the words say; gives the exit code."""
    match words:
        case ["guard", folder, name, user]:
            base.FOLDER = Path(folder)
            base.guard(name, user)
        case ["up" | "down" | "status" as verb, *names] if set(names) <= set(base.SERVICES):
            return _all(verb, names)
        case _:
            print(USAGE, file=sys.stderr)
            return 2
    return 0


def _all(verb: str, names: Sequence[str]) -> int:
    chosen = names or list(base.SERVICES)
    if verb == "down":
        # Those that stand on others end first.
        for name in sorted(chosen, key=list(base.SERVICES).index, reverse=True):
            if (base.FOLDER / name).exists():
                base.stop(name)
        return 0
    for name in chosen:
        if verb == "up":
            try:
                base.ensure(name)
            except (base.ServiceMissing, base.ServiceFailed) as exc:
                print(exc, file=sys.stderr)
                return 1
        _show(name)
    return 0


def _show(name: str) -> None:
    known = base.state(name)
    if known is None:
        print(f"{name}: stopped")
        return
    health = "up" if base.healthy(known) else "dead, to be replaced when asked for"
    print(f"{name}: {health}; users: {', '.join(known.users)}")
    for key, value in known.address.items():
        print(f"  {key}={value}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
