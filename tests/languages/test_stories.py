"""A worker of another language outlives us, if it was asked to, with what its call has said."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.languages.samples import LANGUAGES, made
from twingraph_nb.component import Component
from twingraph_nb.languages import CHANNEL, MARKS, TOLD, Said, Speaker, cache_folder, language_of

SIGNATURE = "step(text: str, gate: str) -> out: str"
CODE = {
    "javascript": """
import fs from "node:fs";
function step(text, gate) {
  console.log("began " + text);
  const nap = new Int32Array(new SharedArrayBuffer(4));
  while (gate && !fs.existsSync(gate)) Atomics.wait(nap, 0, 0, 20);
  if (!text) throw new RangeError("nothing");
  console.log("ended\\u0001 \\u00e4");
  return text + "!";
}""",
    "bash": """
echo "began $text"
while [[ -n $gate && ! -e $gate ]]; do sleep 0.02; done
[[ -n $text ]] || exit 7
printf 'ended\\1 ä\\n'
out=$text!
""",
    "c++": """
#include <filesystem>
#include <iostream>
#include <stdexcept>
#include <unistd.h>
std::string step(const std::string &text, const std::string &gate) {
  std::cout << "began " << text << std::endl;
  while (!gate.empty() && !std::filesystem::exists(gate)) usleep(20000);
  if (text.empty()) throw std::range_error("nothing");
  std::cout << "ended\\1 ä\\n";
  return text + "!";
}""",
    "rust": """
fn step(text: &str, gate: &str) -> Result<String, String> {
    println!("began {}", text);
    while !gate.is_empty() && !std::path::Path::new(gate).exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    if text.is_empty() {
        return Err("nothing".to_string());
    }
    println!("ended\\u{1} ä");
    Ok(format!("{}!", text))
}""",
}
CODE["typescript"] = CODE["javascript"].replace("text, gate", "text: string, gate: string", 1)


def step(language: str) -> Component:
    return made(language, SIGNATURE, CODE[language])


class Worker:
    """One as a container has it; what it says is read by nobody."""

    def __init__(self, one: Component, folder: Path) -> None:
        self.told, self.gate = folder / "told", folder / "go"
        language = language_of(one.language)
        built = language.build(one, cache=cache_folder())
        self.speaker = Speaker(one, language.form)
        names = {CHANNEL: "stdio", MARKS: "1", TOLD: str(self.told)}
        self.process = subprocess.Popen(
            built.started_in(built.folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **built.environ, **names},
        )
        assert self.process.stdin is not None
        self._input: IO[bytes] = self.process.stdin

    def call(self, tag: int, text: str, gate: bool = False) -> None:
        self._send(self.speaker.call(tag, {"text": text, "gate": str(self.gate) if gate else ""}))

    def keep(self, tag: int, seconds: float = 600.0) -> None:
        self._send(self.speaker.keep(tag, seconds))

    def leave(self) -> None:
        self._input.close()

    def story(self) -> list[Said]:
        while not self.told.exists():
            assert self.process.poll() is None
            time.sleep(0.02)
        said = list(self.speaker.feed(self.told.read_bytes()))
        assert self.process.poll() is None
        return said

    def _send(self, data: bytes) -> None:
        self._input.write(data)
        self._input.flush()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[[Component], Worker]]:
    running = []

    def start(one: Component) -> Worker:
        running.append(Worker(one, tmp_path))
        return running[-1]

    yield start
    for one in running:
        with contextlib.suppress(ProcessLookupError):  # it and what it started have ended
            os.killpg(one.process.pid, signal.SIGKILL)
        one.leave()
        one.process.wait()


def printed(story: list[Said], tag: int) -> str:
    logs = [said.value for said in story if said.kind == "log" and said.tag in (0, tag)]
    assert all(isinstance(one, tuple) and one[0] == "stdout" for one in logs)
    return "".join(one[1] for one in logs)  # type: ignore[index]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_call_said_waits_for_another_kernel(
    language: str, worker: Callable[[Component], Worker]
) -> None:
    one = worker(step(language))
    one.call(1, "before")
    one.keep(1)
    one.call(2, "ä", gate=True)
    one.keep(1)  # that is over
    one.keep(2)
    one.leave()
    time.sleep(0.3)
    assert not one.told.exists()
    one.gate.touch()
    story = one.story()
    assert printed(story, 2) == "began ä\nended\x01 ä\n"
    last = story[-1]
    assert (last.kind, last.tag) == ("result", 2)
    assert one.speaker.result(last.value) == "ä!"  # type: ignore[arg-type]
    assert one.told.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("language", LANGUAGES)
def test_so_does_an_error(language: str, worker: Callable[[Component], Worker]) -> None:
    one = worker(step(language))
    one.call(7, "", gate=True)
    one.keep(7)
    one.leave()
    one.gate.touch()
    story = one.story()
    assert printed(story, 7) == "began \n"
    assert (story[-1].kind, story[-1].tag) == ("failed", 7)
    assert "status 7" in str(story[-1].value) or "nothing" in str(story[-1].value)


@pytest.mark.parametrize("language", LANGUAGES)
def test_nobody_waits_for_what_was_not_to_be_kept_or_has_been_heard(
    language: str, worker: Callable[[Component], Worker]
) -> None:
    one = worker(step(language))
    one.call(1, "a", gate=True)
    one.keep(1)
    one.call(2, "b")  # so it has been heard
    one.leave()
    one.gate.touch()
    assert one.process.wait(60) == 0
    assert not one.told.exists()


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_waits_as_long_as_it_was_asked_to(
    language: str, worker: Callable[[Component], Worker]
) -> None:
    one = worker(step(language))
    one.call(1, "a", gate=True)
    one.keep(1, 1.0)
    one.leave()
    one.gate.touch()
    assert one.process.wait(60) == 0
    assert one.told.exists()
