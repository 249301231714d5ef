// Runs calls of a JavaScript component. Usage: node worker.mjs cell.mjs; speaker.py has the protocol.

import fs from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const cell = process.argv[2];
const channel = process.env.TWINGRAPH_CHANNEL ?? "stdio";
const marks = process.env.TWINGRAPH_MARKS;
const told = process.env.TWINGRAPH_TOLD;
for (const name of ["CHANNEL", "MARKS", "TOLD"]) delete process.env[`TWINGRAPH_${name}`];
const [input, output] = channel === "stdio" ? moved() : [Number(channel), Number(channel)];
if (channel === "stdio") {
  process.stdout.write = marks ? tell : (...what) => process.stderr.write(...what);
}

/** The channel, taken off stdin and stdout, which processes that the code starts may inherit. */
function moved() {
  const ways = [0, 1];
  try {
    const err = fs.openSync("/proc/self/fd/2", "w");
    const found = [fs.openSync("/proc/self/fd/0", "r"), fs.openSync("/proc/self/fd/1", "w")];
    ways.splice(0, 2, ...found);
    fs.closeSync(0);
    fs.openSync("/dev/null", "r"); // is 0: the lowest that is free
    fs.closeSync(1);
    fs.openSync(`/proc/self/fd/${err}`, "w");
    fs.closeSync(err);
  } catch {
    // Not Linux, or sockets: so they had better not inherit.
  }
  return ways;
}

const nap = new Int32Array(new SharedArrayBuffer(4));
const chunk = Buffer.allocUnsafe(1 << 16);
let held = Buffer.alloc(0);

/** Call until the descriptor is ready: one that another process shares may not block. */
function patiently(act) {
  for (;;) {
    try {
      return act();
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
      Atomics.wait(nap, 0, 0, 1);
    }
  }
}

/** In place of stdout, which carries the answers: in frames to stderr, as speaker.py has them. */
function tell(what, encoding, done) {
  const text = typeof what === "string" ? Buffer.from(what, asked(encoding)) : Buffer.from(what);
  note(message("log", current, Buffer.concat([Buffer.from("stdout "), text])));
  for (let at = 0; at < text.length; at += 2040) {
    const frame = [0, 62];
    for (const byte of text.subarray(at, at + 2040)) {
      if (byte === 0 || byte === 16) frame.push(16, byte ^ 64);
      else frame.push(byte);
    }
    frame.push(0);
    patiently(() => fs.writeSync(2, Uint8Array.from(frame)));
  }
  const after = typeof encoding === "function" ? encoding : done;
  if (after) process.nextTick(after);
  return true;
}

function asked(encoding) {
  return typeof encoding === "string" ? encoding : "utf8";
}

function read(into) {
  const count = patiently(() => fs.readSync(input, into, 0, into.length, null));
  if (count === 0) {
    outlive();
    process.exit(0);
  }
  return count;
}

const LONGEST = 1 << 24; // bytes of a story beside the answer
const RECENT = 2000; // ms in which a kernel has surely taken an answer
let current = "0";
let story = [];
let size = 0;
let linger = 0;
let answered = 0;

/** Remember what the running call says: another kernel may ask for it, as speaker.py has it. */
function note(what) {
  if (!told) return;
  size += what.length;
  if (size <= LONGEST) story.push(what);
  else story = [];
}

/** The kernel is gone. If it wanted that, wait with what the last call has said. */
function outlive() {
  if (!linger || size > LONGEST || performance.now() - answered > RECENT) return;
  try {
    const file = fs.openSync(`${told}.part`, "wx", 0o600);
    for (const one of story) fs.writeFileSync(file, one);
    fs.closeSync(file);
    fs.renameSync(`${told}.part`, told);
  } catch {
    return; // the disk is full
  }
  Atomics.wait(nap, 0, 0, 1000 * linger);
}

/** The next message: its kind, tag and body. */
function take() {
  let end;
  while ((end = held.indexOf(10)) < 0) {
    const count = read(chunk);
    held = Buffer.concat([held, chunk.subarray(0, count)]);
  }
  const [kind, tag, length] = held.toString("latin1", 0, end).split(" ");
  if (kind === "call") [current, story, size, linger] = [tag, [], 0, 0];
  const body = Buffer.allocUnsafe(Number(length));
  let at = held.copy(body, 0, end + 1);
  held = Buffer.from(held.subarray(end + 1 + at));
  while (at < body.length) at += read(body.subarray(at));
  return [kind, tag, body];
}

function message(kind, tag, body) {
  return Buffer.concat([Buffer.from(`${kind} ${tag} ${body.length}\n`), body]);
}

function say(kind, tag, text) {
  const last = kind === "result" || kind === "failed";
  if (marks && last) {
    // After what the call has printed, where that and its answer go different ways.
    patiently(() => fs.writeSync(2, `\0${tag}\0`));
  }
  const whole = message(kind, tag, Buffer.from(text, "utf8"));
  if (kind === "chunk") note(whole);
  else if (last && told) story.push(whole);
  for (let at = 0; at < whole.length; ) {
    at += patiently(() => fs.writeSync(output, whole, at));
  }
}

/** A value of the kernel's as JavaScript has it. */
function revived(value) {
  if (Array.isArray(value)) return value.map(revived);
  if (value === null || typeof value !== "object") return value;
  const keys = Object.keys(value);
  if (keys.length === 1 && keys[0].startsWith("$")) {
    const inner = value[keys[0]];
    switch (keys[0]) {
      case "$int":
        return BigInt(inner);
      case "$float":
        return { nan: NaN, inf: Infinity, "-inf": -Infinity, "-0": -0 }[inner];
      case "$bytes":
        return new Uint8Array(Buffer.from(inner, "base64"));
      case "$dict":
        return Object.fromEntries(inner.map(([key, one]) => [key, revived(one)]));
    }
  }
  return Object.fromEntries(keys.map((key) => [key, revived(value[key])]));
}

function number(value) {
  if (Number.isFinite(value)) return Object.is(value, -0) ? { $float: "-0" } : value;
  return { $float: Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf" };
}

/** A value of the user's as JSON has it; `path` is where it is, for the message. */
function plain(value, path) {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      return number(value);
    case "undefined":
      return null;
    case "bigint":
      return { $int: value.toString() };
    case "object":
      return value === null ? null : structured(value, path);
    default:
      throw new TypeError(`${path} is a ${typeof value}, which cannot be given to another task`);
  }
}

function structured(value, path) {
  if (Array.isArray(value)) return value.map((one, at) => plain(one, `${path}[${at}]`));
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString("base64") };
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) {
    return Array.from(value, (one) => plain(one, path));
  }
  if (value instanceof Set) return Array.from(value, (one) => plain(one, path));
  if (typeof value.then === "function") {
    throw new TypeError(`${path} is a promise: await it before it is returned`);
  }
  if (typeof value.toJSON === "function") return plain(value.toJSON(), path);
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  const made = entries.map(([key, one]) => [String(key), plain(one, `${path}.${key}`)]);
  if (made.some(([key]) => key.startsWith("$"))) return { $dict: made };
  return Object.fromEntries(made);
}

function written(value) {
  return JSON.stringify(plain(value, "the result"));
}

/** The lines of the cell that an error passed through, innermost first. */
function lines(error) {
  const found = [];
  for (const line of String(error?.stack ?? "").split("\n")) {
    const at = line.includes("cell.mjs") && line.match(/cell\.mjs:(\d+)(?::\d+)?\)?$/);
    if (at) found.push(at[1]);
  }
  return found.slice(0, 50).join(",");
}

function failed(tag, error) {
  const isError = error instanceof Error || typeof error?.message === "string";
  const name = isError ? error.name ?? "Error" : "Thrown";
  let message = isError ? error.message : String(error);
  for (let cause = error?.cause, depth = 0; cause && depth < 10; cause = cause.cause, depth++) {
    message += `\ncaused by ${cause.name ?? "Error"}: ${cause.message ?? cause}`;
  }
  say("failed", tag, `${name}\n${lines(error)}\n${message}`);
}

globalThis.require = createRequire(process.cwd() + "/");
globalThis.twingraph = {
  progress(fraction, message = "") {
    if (!Number.isFinite(fraction)) throw new TypeError("progress wants a number from 0 to 1");
    say("progress", current, `${fraction} ${message}`);
  },
};

let component;

async function serve(tag, body) {
  const text = body.toString("utf8");
  try {
    component ??= (await import(pathToFileURL(cell).href)).twingraphComponent;
    const given = JSON.parse(text);
    let value = component(...(text.includes('"$') ? given.map(revived) : given));
    if (value !== null && typeof value === "object") {
      value = await value;
      if (typeof value?.next === "function" && (value[Symbol.iterator] || value[Symbol.asyncIterator])) {
        for await (const one of value) say("chunk", tag, written(one));
        value = null;
      }
    }
    say("result", tag, written(value));
  } catch (error) {
    failed(tag, error);
  }
}

for (;;) {
  const [kind, tag, body] = take();
  if (kind === "call") {
    await serve(tag, body);
    answered = performance.now();
  } else if (kind === "keep" && tag === current) {
    linger = Number(body.toString("latin1"));
  }
}
