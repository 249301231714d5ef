"""Components in other languages: JavaScript, TypeScript, Bash, C++, Rust, and others by manifest.

A component knows its language by name. What a platform does with one:

    language = language_of(component.language)
    built = language.build(component, cache=cache_folder(), where="here")
    speaker = Speaker(component, language.form)

- `where="here"` builds for this machine; `"static"` builds here what runs on any machine of this
  kind (compiled languages: one static file); `"inside"` compiles nothing: run each of
  `built.prepared_in(folder)` in the image first.
- Bring the files of `built.folder` to a folder there and start `built.started_in(folder)` with
  the environment variable `TWINGRAPH_CHANNEL=stdio`. The worker then speaks the protocol on
  stdin and stdout, and all that the user's code prints comes on stderr; with `TWINGRAPH_MARKS`
  what went to stdout is framed there, and with `TWINGRAPH_TOLD` it can outlive us.
- `built.refused` and `built.located` read what a compiler said there, and where an error was.
- Send `speaker.call(tag, arguments)` to it, give what it sends to `speaker.feed(data)`, and read
  the body of a `result` with `speaker.result(body)`. One call at a time; the stream may be
  anything that carries bytes in order both ways (a socket, an `exec`, an attached container).

`speaker` describes the messages, `codec` the values, `base` what a language has to offer, and
`manifest` how one is added without Python. `foreign` has the errors.
"""

from __future__ import annotations

from twingraph_nb.languages.base import Built, Language, Where
from twingraph_nb.languages.define import component_of, foreign_component, source_of_code
from twingraph_nb.languages.foreign import ForeignError
from twingraph_nb.languages.registry import cache_folder, language_of, languages
from twingraph_nb.languages.speaker import CHANNEL, MARKS, TOLD, Garbled, Said, Speaker

__all__ = [
    "CHANNEL",
    "MARKS",
    "TOLD",
    "Built",
    "ForeignError",
    "Garbled",
    "Language",
    "Said",
    "Speaker",
    "Where",
    "cache_folder",
    "component_of",
    "foreign_component",
    "language_of",
    "languages",
    "source_of_code",
]
