"""A form under the cell for each question that a run asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from html import escape
from typing import TYPE_CHECKING, Any, Final

from twingraph_nb.errors import RunError
from twingraph_nb.picture.model import FINAL, Screen
from twingraph_nb.question import Pending, terms

if TYPE_CHECKING:
    from ipywidgets import VBox

__all__ = ["Form", "Forms"]

_BUTTONS: Final = 5
"""Options from which a choice is a list and no row of buttons."""
_SHOWN: Final = 20
"""Forms of one view; if more is asked, those that wait come first."""
_STYLES: Final = {"yes": "success", "no": "danger"}
_BUSY: Final = (
    "A cell keeps the kernel busy: a click is heard when that cell ends, or at once if it says "
    "`await run` and not `run.result()`. From a terminal: "
)


class Forms:
    """The forms of one view. Drawn by the ticker's thread alone.

    answer: gives an answer to the run, by the number of the task; raises `RunError`.
    """

    def __init__(self, answer: Callable[[int, object], str]) -> None:
        self._answer = answer
        self._forms: dict[int, Form] = {}
        self._more = 0
        self.widget: VBox | None = None

    def draw(self, screen: Screen, only: Collection[int] | None = None) -> bool:
        """Show what is asked and what was answered; True when the box has just been made."""
        over = {
            number: told.first is not None or screen.over or screen.tasks[number].state in FINAL
            for number, told in screen.questions.items()
            if only is None or number in only
        }
        waiting = [number for number, ended in over.items() if not ended]
        shown = list(over) if len(over) <= _SHOWN else waiting[:_SHOWN]
        before = list(self._forms.values())
        self._forms = {number: self._form(number, screen) for number in shown}
        for number, form in self._forms.items():
            if over[number]:
                form.close(screen.questions[number])
        more = max(0, len(waiting) - len(shown))
        if list(self._forms.values()) == before and more == self._more:
            return False
        self._more = more
        return self._arrange()

    def tell_busy(self, busy: bool) -> None:
        """Say at each question that waits that a click is heard later only, or no more."""
        for form in self._forms.values():
            form.tell_busy(busy)

    @property
    def waiting(self) -> bool:
        """True while a question that is shown has no answer."""
        return any(not form.closed for form in self._forms.values())

    def _form(self, number: int, screen: Screen) -> Form:
        form, told = self._forms.get(number), screen.questions[number]
        if form is None or form.asked is not told.asked:  # another attempt asks anew
            how = f"twingraph answer {screen.run} {number} ANSWER"
            form = Form(told, lambda value: self._answer(number, value), how)
        return form

    def _arrange(self) -> bool:
        from ipywidgets import HTML, VBox

        shown = [form.widget for form in self._forms.values()]
        if self._more:
            said = f"{self._more} more questions come when these are answered"
            shown.append(HTML(f'<div class="tg-form tg-line"><span>{said}</span></div>'))
        if self.widget is not None:
            self.widget.children = tuple(shown)
            return False
        self.widget = VBox(shown, _dom_classes=("tg-forms",))
        return True


class Form:
    """The widgets of one question. widget: the box. asked: the event that it shows. closed: it
    takes no more answers. how: the command that answers from elsewhere."""

    def __init__(self, told: Pending, answer: Callable[[object], str], how: str) -> None:
        from ipywidgets import HTML, HBox, VBox

        self.asked, self._answer, self._how = told.asked, answer, how
        self.closed = self._busy = False
        self._said = ""
        self._note = HTML("")
        self.inputs: list[Any] = []
        self._read: Callable[[], object] = lambda: None
        rows = self._rows(told)
        asked = told.asked
        more = f"<span>{escape(terms(asked))}</span>"
        prompt = HTML(f'<div class="tg-line"><b>{escape(asked.prompt)}</b>{more}</div>')
        self.widget = VBox([prompt, *rows, HBox([self._note])], _dom_classes=("tg-form",))

    def close(self, told: Pending) -> None:
        """Take no more answers, and say who gave one."""
        if self.closed:
            return
        self.tell_busy(False)
        self.closed = True
        for widget in self.inputs:
            widget.disabled = True
        first = told.first
        if first is None:
            self._say("it was not answered")
        else:
            clock = time.strftime("%H:%M:%S", time.localtime(first.at))
            self._say(f"{first.text}, by {first.who or 'somebody'} at {clock}")

    def send(self, value: object) -> None:
        """Give an answer to the run; if it is none, say why."""
        try:
            self._answer(value)
        except RunError as exc:
            self._say(str(exc))

    def tell_busy(self, busy: bool) -> None:
        """Say that a click is heard later only, or no more."""
        if busy != self._busy and not self.closed:
            self._busy = busy
            self._show()

    def _say(self, text: str) -> None:
        self._said = text
        self._show()

    def _show(self) -> None:
        lines = [f"<span>{escape(self._said)}</span>"] * bool(self._said)
        if self._busy:
            lines.append(f"<span>{escape(_BUSY)}<code>{escape(self._how)}</code></span>")
        self._note.value = "".join(f'<div class="tg-line">{line}</div>' for line in lines)

    # -- what each kind looks like -------------------------------------------------------------

    def _rows(self, told: Pending) -> list[Any]:
        asked = told.asked
        if asked.wants == "approval":
            return [self._buttons(("yes", "no"))]
        if asked.wants == "choice" and len(asked.options) <= _BUTTONS:
            return [self._buttons(asked.options)]
        if asked.wants == "form":
            return self._fields(asked.fields or {})
        return self._one(asked.wants, asked.options)

    def _buttons(self, options: Collection[str]) -> Any:
        from ipywidgets import Button, HBox

        for option in options:
            button = Button(description=option, button_style=_STYLES.get(option, ""))
            button.on_click(lambda _, option=option: self.send(option))
            self.inputs.append(button)
        return HBox(list(self.inputs))

    def _one(self, wants: str, options: Collection[str]) -> list[Any]:
        from ipywidgets import Dropdown, SelectMultiple, Text

        if wants == "text":
            field: Any = Text(layout={"width": "60%"})
        elif wants == "choice":
            field = Dropdown(options=list(options))
        else:
            field = SelectMultiple(options=list(options), rows=min(8, len(options)))
        self._read = lambda: list(field.value) if wants == "multi" else field.value
        return [field, self._submit([field])]

    def _fields(self, fields: Mapping[str, str | tuple[str, ...]]) -> list[Any]:
        from ipywidgets import Checkbox, Dropdown, Text

        made: dict[str, Any] = {}
        for name, spec in fields.items():
            if not isinstance(spec, str):
                made[name] = Dropdown(options=list(spec), description=name)
            elif spec == "bool":
                made[name] = Checkbox(description=name)
            else:
                made[name] = Text(description=name, placeholder=spec)
        self._read = lambda: {name: field.value for name, field in made.items()}
        return [*made.values(), self._submit(made.values())]

    def _submit(self, fields: Collection[Any]) -> Any:
        from ipywidgets import Button

        button = Button(description="Answer", button_style="primary")
        button.on_click(lambda _: self.send(self._read()))
        self.inputs.extend([*fields, button])
        return button
