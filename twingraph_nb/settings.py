"""What the environment says: where data is kept and how much may run at once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one session.

    home: folder of the event log and the kept values (`TWINGRAPH_HOME`).
    record: False keeps nothing on disk (`TWINGRAPH_STORE=off`).
    notebook_run: id of the batch run this kernel belongs to (`TWINGRAPH_RUN`), or "".
    notebook: path of the notebook, as the batch run knows it (`TWINGRAPH_NOTEBOOK`).
    resume: id of an earlier run whose finished tasks are taken over (`TWINGRAPH_RESUME`), or "".
    batch: no front end is there to draw live (`TWINGRAPH_BATCH=1`).
    threads: most threads for sync components on platform local (`TWINGRAPH_THREADS`).
    processes: most workers of platform process (`TWINGRAPH_PROCESSES`).
    keep_after: outputs of tasks that took longer than this many seconds are kept on disk
        for reuse after a crash (`TWINGRAPH_KEEP_AFTER`).
    payloads: folder or URL for large inputs of tasks elsewhere, "" to send them with the tasks
        (`TWINGRAPH_PAYLOADS`); see `executors/payload_stores.py`.
    answers: to questions, by the name of their task or by their prompt, as a JSON object
        (`TWINGRAPH_ANSWERS`).
    no_input: nobody answers questions: they fail at once, or take their default
        (`TWINGRAPH_NO_INPUT=1`).
    selected: what of each pipeline is to run, as a JSON object of names by option
        (`TWINGRAPH_SELECTED`); see `twingraph_nb.selection`.
    notify: a webhook that is told of each question (`TWINGRAPH_NOTIFY`).
    lineage: URL of a Gremlin Server or of Amazon Neptune that the graph of what runs is written
        to as well (`TWINGRAPH_LINEAGE`), or "".
    """

    home: Path
    record: bool = True
    notebook_run: str = ""
    notebook: str = ""
    resume: str = ""
    batch: bool = False
    threads: int = 32
    processes: int = 2
    keep_after: float = 1.0
    payloads: str = ""
    answers: Mapping[str, object] = field(default_factory=dict)
    no_input: bool = False
    selected: Mapping[str, object] = field(default_factory=dict)
    notify: str = field(default="", repr=False)
    lineage: str = field(default="", repr=False)

    @classmethod
    def load(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Give the settings that the environment asks for.

        Raises:
            ValueError: a number in the environment is not one.
        """
        env = os.environ if env is None else env
        cores = os.cpu_count() or 1
        return cls(
            home=Path(env["TWINGRAPH_HOME"]) if env.get("TWINGRAPH_HOME") else _user_folder(),
            record=env.get("TWINGRAPH_STORE", "on").lower() not in ("off", "0", "none", "false"),
            notebook_run=env.get("TWINGRAPH_RUN", ""),
            notebook=env.get("TWINGRAPH_NOTEBOOK", env.get("JPY_SESSION_NAME", "")),
            resume=env.get("TWINGRAPH_RESUME", ""),
            batch=env.get("TWINGRAPH_BATCH", "") == "1",
            threads=_number(env, "TWINGRAPH_THREADS", min(32, cores + 4)),
            processes=_number(env, "TWINGRAPH_PROCESSES", cores),
            keep_after=_seconds(env, "TWINGRAPH_KEEP_AFTER", 1.0),
            payloads=env.get("TWINGRAPH_PAYLOADS", ""),
            answers=_object(env, "TWINGRAPH_ANSWERS"),
            selected=_object(env, "TWINGRAPH_SELECTED"),
            notify=env.get("TWINGRAPH_NOTIFY", ""),
            lineage=env.get("TWINGRAPH_LINEAGE", ""),
            no_input=env.get("TWINGRAPH_NO_INPUT", "") == "1",
        )


def _user_folder() -> Path:
    import platformdirs  # only here: most sessions in tests and batch runs name their home

    return Path(platformdirs.user_data_dir("twingraph"))


def _number(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name)
    if not text:
        return default
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, not {text!r}")
    return int(text)


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    try:
        return float(env.get(name) or default)
    except ValueError:
        raise ValueError(f"{name} must be a number of seconds, not {env[name]!r}") from None


def _object(env: Mapping[str, str], name: str) -> dict[str, object]:
    text = env.get(name)
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{name} must be a JSON object")
    return found
