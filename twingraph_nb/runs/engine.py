"""The papermill engine: ``papermill --engine twingraph in.ipynb out.ipynb``.

papermill loads this module whenever it is imported itself, and even while it is half imported.
So nothing of papermill is imported here at the top, and the class has papermill's shape
without inheriting from it.
"""

from __future__ import annotations

__all__ = ["TwingraphEngine"]


class TwingraphEngine:
    """Runs a notebook, records it as a run with its runs below it, and writes a report.

    The executed notebook goes to `output_path`, the report beside it (``out.report.html``).
    """

    @classmethod
    def execute_notebook(
        cls,
        nb: object,
        kernel_name: str,
        output_path: str | None = None,
        progress_bar: bool = True,
        **options: object,
    ) -> object:
        """Run all cells of a notebook node; gives it back executed.

        Args:
            options: what else papermill passes: `log_output`, `start_timeout` (seconds),
                `execution_timeout` (seconds a cell), `input_path`, ...
        Raises:
            NotebookError: parameters that do not fit, a kernel that died, or a run that was
                not awaited by any cell and failed.
        """
        from twingraph_nb.runs.job import run_for_papermill

        return run_for_papermill(nb, kernel_name, output_path, bool(progress_bar), options)

    @classmethod
    def nb_kernel_name(cls, nb: object, name: str | None = None) -> str:
        """Give the kernel's name that the notebook asks for, or `name`."""
        from papermill.utils import nb_kernel_name

        return str(nb_kernel_name(nb, name))

    @classmethod
    def nb_language(cls, nb: object, language: str | None = None) -> str:
        """Give the notebook's language, or `language`."""
        from papermill.utils import nb_language

        return str(nb_language(nb, language))
