"""Getting a notebook ready for a batch run: found, readable, with a kernel that exists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from papermill.execute import prepare_notebook_metadata, remove_error_markers
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from twingraph_nb.errors import NotebookError, suggestion

__all__ = ["Kernel", "kernel_for", "load", "with_parameters"]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that is installed: its name and the language it speaks."""

    name: str
    language: str


def load(path: Path) -> Any:
    """Give the notebook, upgraded to nbformat 4.

    Raises:
        NotebookError: there is no file, or it is not a notebook.
    """
    if path.is_dir():
        raise NotebookError(f"{path} is a folder, not a notebook")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = [p.name for p in path.parent.glob("*.ipynb")] if path.parent.is_dir() else []
        raise NotebookError(f"there is no notebook {path}{suggestion(path.name, near)}") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise NotebookError(f"{path} cannot be read: {exc}") from None
    try:
        body = json.loads(text)
    except ValueError as exc:
        raise NotebookError(f"{path} is not a notebook: it is not valid JSON: {exc}") from None
    if not isinstance(body, dict) or "nbformat" not in body:
        raise NotebookError(f"{path} is not a notebook: it is JSON, but has no 'nbformat'")
    try:
        return load_notebook_node(str(path))
    except Exception as exc:  # nbformat raises whatever a malformed part leads to
        reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise NotebookError(f"{path} is not a valid notebook: {reason}") from exc


def kernel_for(nb: Any, wanted: str | None, *, notebook: str) -> Kernel:
    """Give the kernel that is `wanted`, or else the one the notebook names, or else python3.

    Raises:
        NotebookError: no kernel of that name is installed.
    """
    name = wanted or nb.metadata.get("kernelspec", {}).get("name") or "python3"
    specs = KernelSpecManager()
    try:
        spec = specs.get_kernel_spec(name)
    except NoSuchKernel:
        known = sorted(specs.find_kernel_specs())
        raise NotebookError(
            f"{notebook} wants the kernel {name!r}, which is not installed"
            f"{suggestion(name, known)}; installed: {', '.join(known) or 'none'}; "
            f"choose one with --kernel NAME"
        ) from None
    return Kernel(name, spec.language or "python")


def with_parameters(
    nb: Any, params: Mapping[str, object], kernel: Kernel, *, source: Path, target: Path
) -> Any:
    """Give the notebook with the values in a cell of their own, ready to be executed."""
    if params:
        nb = parameterize_notebook(
            nb, dict(params), kernel_name=kernel.name, language=kernel.language
        )
    nb = prepare_notebook_metadata(nb, str(source), str(target))
    return remove_error_markers(nb)
