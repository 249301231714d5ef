"""What is wrong in a component of another language is told with its name and the code's lines."""

from __future__ import annotations

import pickle
import traceback

import pytest

from tests.languages.samples import called, made, run
from twingraph_nb.errors import CompileError, DefinitionError, WorkerDied
from twingraph_nb.languages import ForeignError

INVALID = {
    "javascript": ("f(x) -> y", "function f(x) {\n  retrn x\n}", 2, "Unexpected identifier"),
    "typescript": ("f(x) -> y", "function f(x: number) {\n  retrn x\n}", 2, "Expected"),
    "bash": ("f(x) -> y", "y=1\nif true; then\n  y=2\n)\n", 4, "syntax error"),
}


@pytest.mark.parametrize("language", INVALID)
def test_syntax_error_is_told_when_the_component_is_defined(language: str) -> None:
    signature, code, line, message = INVALID[language]
    with pytest.raises(CompileError, match=message) as caught:
        made(language, signature, code)
    assert caught.value.errors[0][0] == line
    assert caught.value.errors[0][2] == code.splitlines()[line - 1].strip()
    assert f"the code of f, line {line}: " in str(caught.value)


REFUSED = {
    "c++": ("int f(int x) {\n  int y = x;\n  return z;\n}", 3, "'z' was not declared"),
    "rust": ('fn f(x: i64) -> i64 {\n  let y: i64 = "a";\n  x + y\n}', 2, "mismatched types"),
}


@pytest.mark.parametrize("language", REFUSED)
def test_what_the_compiler_refuses_has_the_lines_of_the_code(language: str) -> None:
    code, line, message = REFUSED[language]
    component = made(language, "f(x: int) -> y: int", code)
    with pytest.raises(CompileError) as caught:
        run(component, 1).result(60)
    error = caught.value
    assert error.errors[0][0] == line
    assert message in error.errors[0][1].replace("\u2018", "'").replace("\u2019", "'")
    assert error.errors[0][2] == code.splitlines()[line - 1].strip()
    assert error.output


UNFIT = {
    "c++": ('#include <string>\nstd::string f(int x) { return "a"; }', "not the int that"),
    "rust": ("// it\nfn f(x: i64) -> String { x.to_string() }", "`String`|`String: Put<Int>`"),
}


@pytest.mark.parametrize("language", UNFIT)
def test_function_that_does_not_fit_the_ports_is_told_at_its_own_line(language: str) -> None:
    code, message = UNFIT[language]
    with pytest.raises(CompileError, match=message) as caught:
        called(language, "f(x: int) -> y: int", code, 1)
    assert caught.value.errors[0][0] == 2


@pytest.mark.parametrize("language", ["javascript", "typescript", "c++", "rust"])
def test_code_without_the_function_is_refused(language: str) -> None:
    with pytest.raises(DefinitionError, match="the code has no function 'f'"):
        made(language, "f(x: int) -> y: int", "// nothing here")


def test_rust_function_with_other_parameters_is_refused() -> None:
    code = "fn f(a: std::collections::HashMap<String, i64>, b: i64) -> i64 { b }"
    with pytest.raises(DefinitionError, match="fn f takes 2 parameters, but there are 1 inputs"):
        made("rust", "f(x: int) -> y: int", code)


def test_signatures_that_cannot_be_are_refused() -> None:
    code = "const f = (x) => x"
    for signature, message in {
        "f": "needs a signature",
        "f(*xs) -> y": "takes any number of values; use a list",
        "f(x: nonsense) -> y": "signature cannot be read: name 'nonsense' is not defined",
        "f(x) -> y: nonsense": "signature cannot be read: name 'nonsense' is not defined",
        "f(x -> y": r"'\(' is never closed",
    }.items():
        with pytest.raises(DefinitionError, match=message):
            made("js", signature, code)
    with pytest.raises(DefinitionError, match=r"no language is called 'rost'.*did you mean 'rust'"):
        made("rost", "f(x) -> y", code)
    with pytest.raises(DefinitionError, match="say `language=` too"):
        made("python", "f(x) -> y", "x")


FAILING = {
    "javascript": (
        "function inner(x) {\n  throw new RangeError('too large: ' + x)\n}\n"
        "function f(x) {\n  return inner(x)\n}",
        "RangeError", "too large: 7", (2, 5),
    ),
    "typescript": (
        "function f(x: number): number {\n  const none: any = null;\n  return none.a\n}",
        "TypeError", "Cannot read properties of null (reading 'a')", (3,),
    ),
    "bash": (
        "y=1\nls /nowhere-$x\ny=2", "ExitStatus",
        "`ls /nowhere-$x` ended with exit status 2: ls: cannot access '/nowhere-7': "
        "No such file or directory", (2,),
    ),
    "c++": (
        "#include <stdexcept>\nint inner(int x) {\n"
        "  if (x) throw std::out_of_range(\"too large\");\n  return 1;\n}\n"
        "int f(int x) {\n  return 2 * inner(x);\n}",
        "out_of_range", "too large", (3, 7),
    ),
    "rust": (
        "fn f(x: i64) -> i64 {\n  let all = [1, 2];\n  all[x as usize]\n}", "panic",
        "index out of bounds: the len is 2 but the index is 7", (3,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("language", FAILING)
def test_error_of_the_code_has_its_name_message_and_lines(language: str) -> None:
    code, name, message, lines = FAILING[language]
    task = run(made(language, "f(x: int) -> y: int", code), 7)
    with pytest.raises(ForeignError) as caught:
        task.result(60)
    error = caught.value
    assert (type(error).__name__, str(error), error.lines) == (name, message, tuple(lines))
    assert type(error).__module__ == error.language == language
    frames = traceback.extract_tb(error.__traceback__)[-len(lines) :] if lines else []
    assert [frame.lineno for frame in frames] == list(reversed(lines))
    assert all(frame.line == code.splitlines()[frame.lineno - 1].strip() for frame in frames)  # type: ignore[operator]
    place = f"in component f, the code of f, line {lines[0]}" if lines else "in component f"
    assert any(note.startswith(place) for note in error.__notes__)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again).__name__, str(again), again.lines) == (name, message, tuple(lines))


JS_COUNTING = "let n = 0;\nfunction f(x) { n += 1; if (x) throw Error('no'); return n }"


@pytest.mark.parametrize("language", FAILING)
def test_worker_serves_on_after_an_error(language: str) -> None:
    codes = {
        "javascript": JS_COUNTING,
        "typescript": JS_COUNTING,
        "bash": '((x)) && { echo no >&2; exit 3; }\ny=2',
        "c++": "int f(int x) {\n  static int n = 0;\n  n += 1;\n"
        '  if (x) throw std::string("no");\n  return n;\n}',
        "rust": "static N: std::sync::Mutex<i64> = std::sync::Mutex::new(0);\n"
        "fn f(x: i64) -> Result<i64, String> {\n"
        "  let mut n = N.lock().unwrap();\n  *n += 1;\n"
        "  if x != 0 { Err(\"no\".into()) } else { Ok(*n) }\n}",
    }  # fmt: skip
    component = made(language, "f(x: int) -> y: int", codes[language])
    with pytest.raises(ForeignError, match="no"):
        run(component, 1).result(60)
    assert run(component, 0).result(60) == 2


def test_results_of_rust_fail_with_the_name_of_their_error() -> None:
    code = "fn f(s: &str) -> Result<i64, std::num::ParseIntError> { s.parse() }"
    component = made("rust", "f(s: str) -> y: int", code)
    assert run(component, "7").result(60) == 7
    with pytest.raises(ForeignError, match="invalid digit") as caught:
        run(component, "x").result(60)
    assert type(caught.value).__name__ == "ParseIntError"


def test_bash_stops_only_where_the_script_itself_fails() -> None:
    code = "\n".join(
        [
            "a=$(false; echo a)",
            "if grep -q x /dev/null; then a=b; fi",
            "false || true",
            "set +e; false; set -e",
            "( trap 'true' EXIT; true )",
            "trap 'echo bye' EXIT",
        ]
    )
    component = made("bash", "f() -> a: str", code)
    assert run(component).result(60) == "a"
    with pytest.raises(ForeignError, match=r"`\( exit 4 \)` ended with exit status 4") as caught:
        called("bash", "f() -> a: str", "a=1\n\n(\n  exit 4\n)\n")
    assert caught.value.lines[0] in (3, 4, 5)
    with pytest.raises(ForeignError, match="the script ended with exit status 9"):
        called("bash", "f() -> a: str", "exit 9")
    with pytest.raises(ForeignError, match="ended by signal TERM"):
        called("bash", "f() -> a: str", "kill -TERM $BASHPID; sleep 60")


DYING = {
    "javascript": ("const f = () => process.exit(3)", "ended with exit code 3 before"),
    "bash": ("echo last words >&2; kill -9 $$; sleep 60", "killed by signal SIGKILL"),
    "c++": ("#include <csignal>\nint f() { return std::raise(SIGSEGV); }", "signal SIGSEGV"),
    "rust": ("fn f() -> i64 { eprintln!(\"last words\"); std::process::abort() }",
             "signal SIGABRT: last words"),
}  # fmt: skip


@pytest.mark.parametrize("language", DYING)
def test_worker_that_dies_fails_its_task_with_a_sentence(language: str) -> None:
    code, sentence = DYING[language]
    component = made(language, "f() -> y: int", code)
    with pytest.raises(WorkerDied, match=f"the {language.replace('+', '.')} worker.*{sentence}"):
        run(component).result(60)
    with pytest.raises(WorkerDied):  # in a new worker
        run(component).result(60)


def test_function_of_a_foreign_component_explains_itself() -> None:
    component = made("js", "f(x) -> y", "const f = (x) => x")
    with pytest.raises(DefinitionError, match="is javascript code, not a Python function"):
        component.function(1)


def test_retries_go_by_the_name_of_the_error(tmp_path: object) -> None:
    code = """
    const fs = require("fs");
    function f(path) {
      fs.appendFileSync(path, "x");
      if (fs.readFileSync(path, "utf8").length < 3) throw new RangeError("not yet");
      return "done";
    }"""
    path = f"{tmp_path}/count"
    options = {"retries": 5, "delay": 0.01, "retry_on": "RangeError"}
    assert called("js", "f(path: str) -> y: str", code, path, **options) == "done"
