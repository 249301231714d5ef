"""A language without Python: a manifest names a program that speaks the protocol."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.languages.samples import called, made, run
from twingraph_nb.errors import DefinitionError, TaskTimeout, ToolchainMissing, WorkerDied
from twingraph_nb.languages import ForeignError, language_of, languages
from twingraph_nb.languages.bash import Bash

MANIFEST = """
name: perl
command: [perl, "{worker}", "{cell}", "{function}"]
worker: worker.pl
suffix: .pl
image: perl:5.38
install: apt-get install perl
"""
WORKER = r"""
use strict;
use JSON::PP;
my ($cell, $function) = @ARGV;
open(my $io, '+<&=', $ENV{TWINGRAPH_CHANNEL}) or die;
my $json = JSON::PP->new->allow_nonref->utf8;
require $cell;
while (my $head = <$io>) {
    my ($kind, $tag, $length) = split ' ', $head;
    read $io, my $body, $length;
    my $value = eval { main->can($function)->(@{$json->decode($body)}) };
    my ($said, $text) = ('result', '');
    if ($@) {
        my ($line) = $@ =~ /line (\d+)/;
        ($said, $text) = ('failed', "Died\n$line\n$@");
    } else {
        $text = $json->encode($value);
    }
    syswrite $io, "$said $tag " . length($text) . "\n$text";
}
"""
CODE = """
sub lengths {
    my ($words) = @_;
    die "no words" unless @$words;
    print "counting\\n";
    return { map { $_ => length } @$words };
}
1;
"""


@pytest.fixture
def manifest(home: Path) -> Path:
    folder = home / "languages"
    folder.mkdir(parents=True)
    (folder / "worker.pl").write_text(WORKER)
    (folder / "perl.yaml").write_text(MANIFEST)
    return folder / "perl.yaml"


@pytest.mark.parametrize("by_path", [False, True])
def test_language_of_a_manifest_runs(manifest: Path, by_path: bool) -> None:
    name = str(manifest) if by_path else "perl"
    component = made(name, "lengths(words: list[str]) -> sizes: dict[str, int]", CODE)
    assert run(component, ["a", "bcd", "né"]).result(60) == {"a": 1, "bcd": 3, "né": 2}
    with pytest.raises(ForeignError, match="no words") as caught:
        run(component, []).result(60)
    assert (type(caught.value).__name__, caught.value.lines) == ("Died", (4,))
    assert language_of(name).image == "perl:5.38"
    assert "perl" in languages()


def test_manifest_that_is_wrong_says_so(manifest: Path) -> None:
    for text, message in {
        "name: perl": "needs command",
        MANIFEST + "colour: red": "unknown key 'colour'; known are name, command",
        MANIFEST.replace("[perl,", "perl #"): "command must be a list, not 'perl'",
        MANIFEST.replace("worker.pl", "other.pl"): "there is no worker other.pl beside it",
        "[": "cannot be read",
        "- a": "must hold keys such as name and command",
    }.items():
        manifest.write_text(text)
        with pytest.raises(DefinitionError, match=message):
            language_of("perl")
    with pytest.raises(DefinitionError, match="cannot be read"):
        language_of("/nowhere/perl.yaml")


def test_program_of_a_manifest_that_is_missing_is_told(manifest: Path) -> None:
    manifest.write_text(MANIFEST.replace("[perl,", "[perl-of-nowhere,"))
    with pytest.raises(ToolchainMissing, match=r"perl needs one of perl-of-nowhere.*apt-get"):
        called("perl", "f(x) -> y", "1;", 1)


@pytest.mark.parametrize(
    ("says", "sentence"),
    [
        (
            "hello there, this is no message, and it is long",
            "sent what is no message of the protocol",
        ),
        ("result 1 999999999999\\n", "sent what is no message of the protocol"),
        ("result 1 100\\n{", "ended with exit code 0 before the task was done"),
        ("", "ended with exit code 0 before the task was done"),
    ],
)
def test_worker_that_does_not_keep_the_protocol_is_ended(
    manifest: Path, says: str, sentence: str
) -> None:
    worker = f"open(my $io, '+<&=', $ENV{{TWINGRAPH_CHANNEL}}); syswrite $io, \"{says}\"; <$io>"
    (manifest.parent / "worker.pl").write_text(worker)
    with pytest.raises(WorkerDied, match=f"the perl worker that ran f {sentence}"):
        called("perl", "f(x) -> y", "1;", 1)


def test_worker_that_never_reads_can_be_cancelled(manifest: Path) -> None:
    manifest.write_text("name: perl\ncommand: [sleep, '1000']\n")
    component = made("perl", "f(x) -> y", "1;", timeout=0.5)
    with pytest.raises(TaskTimeout):
        run(component, "x" * 5_000_000).result(60)


class Shout(Bash):
    name = "shout"


def test_language_of_another_package_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "shouting-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n")
    entry = f"[twingraph_nb.languages]\nshout = {__name__}:Shout\n"
    (installed / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert language_of("shout").name == "shout"
    assert "shout" in languages()
    assert called("shout", "up(x: str) -> y: str", "y=${x^^}", "a") == "A"
