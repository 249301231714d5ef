"""Commands that come when their run has just ended."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path
from typing import Any

from twingraph_nb.scheduler.control import Control
from twingraph_nb.store import Store


class Ending:
    """A driver whose run ends between the look at its runs and what is found for it."""

    def __init__(self) -> None:
        self.runs = _Gone(r1=None)

    def call(self, what: Any) -> None:
        what()


class _Gone(dict[str, Any]):
    def get(self, key: str, default: Any = None) -> Any:
        return default


def test_an_answer_that_comes_as_its_run_ends_is_kept_for_the_run_that_resumes_it(
    home: Path,
) -> None:
    with closing(Store.open(home)) as store:
        store.ask("r1", "answer", {"task": 1, "value": "no"}, "ada")
        later = store.ask("r1", "cancel", {}, "ada")
        control = Control(Ending(), store)  # type: ignore[arg-type]
        try:
            for _ in range(500):
                if (said := store.answer_to(later)) is not None:
                    break
                threading.Event().wait(0.02)
        finally:
            control.close()
        assert said is not None
        assert (said.text, said.refused) == ("run r1 has ended", True)
        assert [command.who for command in store.commands("r1", "answer")] == ["ada"]
