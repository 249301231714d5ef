// What a Rust component is compiled with. packed.py says how values are written, speaker.py how
// messages are.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::marker::PhantomData;
use std::os::raw::c_int;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::io::FromRawFd;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

extern "C" {
    fn dup(from: c_int) -> c_int;
    fn dup2(from: c_int, to: c_int) -> c_int;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn open(path: *const std::os::raw::c_char, flags: c_int, ...) -> c_int;
    fn poll(waits: *mut Waits, count: Count, timeout: c_int) -> c_int;
    fn pipe(ends: *mut c_int) -> c_int;
    fn atexit(last: extern "C" fn()) -> c_int;
    fn signal(number: c_int, act: usize) -> usize;
    fn raise(number: c_int) -> c_int;
}

const F_SETFD: c_int = 2;
const FD_CLOEXEC: c_int = 1;
const F_SETFL: c_int = 4;
const SIGABRT: c_int = 6;
const POLLIN: i16 = 1;
#[cfg(target_os = "linux")]
const O_NONBLOCK: c_int = 0o4000;
#[cfg(not(target_os = "linux"))]
const O_NONBLOCK: c_int = 4;
#[cfg(target_os = "linux")]
type Count = std::os::raw::c_ulong;
#[cfg(not(target_os = "linux"))]
type Count = std::os::raw::c_uint;

#[repr(C)]
struct Waits {
    fd: c_int,
    events: i16,
    happened: i16,
}

static OUT: Mutex<Option<(File, String)>> = Mutex::new(None);
static MARKS: AtomicBool = AtomicBool::new(false);
static PANIC: Mutex<(String, String)> = Mutex::new((String::new(), String::new()));

/// The kinds of values, as types that are never made.
pub struct Int;
pub struct Float;
pub struct Bool;
pub struct Str;
pub struct Bytes;
pub struct None_;
pub struct Optional<K>(PhantomData<K>);
pub struct List<K>(PhantomData<K>);
pub struct Dict<K>(PhantomData<K>);

pub struct Reader<'a> {
    body: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, size: usize) -> &'a [u8] {
        assert!(size <= self.body.len(), "the call ends early");
        let (first, rest) = self.body.split_at(size);
        self.body = rest;
        first
    }
    fn count(&mut self) -> usize {
        u32::from_le_bytes(self.take(4).try_into().unwrap()) as usize
    }
}

#[cfg_attr(twingraph_says_why, diagnostic::on_unimplemented(
    message = "a parameter is `{Self}`, which does not fit what the magic line says of this input",
    label = "this function"
))]
pub trait Get<K>: Sized {
    fn get(from: &mut Reader) -> Self;
}

#[cfg_attr(twingraph_says_why, diagnostic::on_unimplemented(
    message = "the result holds `{Self}`, which does not fit what the magic line says of this output",
    label = "this function"
))]
pub trait Put<K> {
    fn put(&self, to: &mut Vec<u8>);
}

fn put_count(to: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("a value of more than 4 GiB or 2**32 items");
    to.extend_from_slice(&count.to_le_bytes());
}

macro_rules! integers {
    ($($t:ty)*) => {$(
        impl Get<Int> for $t {
            fn get(from: &mut Reader) -> Self {
                let value = i64::from_le_bytes(from.take(8).try_into().unwrap());
                <$t>::try_from(value).unwrap_or_else(|_| {
                    panic!("{} does not fit {}", value, stringify!($t))
                })
            }
        }
        impl Put<Int> for $t {
            fn put(&self, to: &mut Vec<u8>) {
                let value = i64::try_from(*self).unwrap_or_else(|_| {
                    panic!("{} does not fit 64 bits with a sign", self)
                });
                to.extend_from_slice(&value.to_le_bytes());
            }
        }
    )*};
}
integers!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize);

impl Get<Float> for f64 {
    fn get(from: &mut Reader) -> Self {
        f64::from_le_bytes(from.take(8).try_into().unwrap())
    }
}
impl Get<Float> for f32 {
    fn get(from: &mut Reader) -> Self {
        <f64 as Get<Float>>::get(from) as f32
    }
}
impl Put<Float> for f64 {
    fn put(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.to_le_bytes());
    }
}
impl Put<Float> for f32 {
    fn put(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&f64::from(*self).to_le_bytes());
    }
}

impl Get<Bool> for bool {
    fn get(from: &mut Reader) -> Self {
        from.take(1)[0] != 0
    }
}
impl Put<Bool> for bool {
    fn put(&self, to: &mut Vec<u8>) {
        to.push(u8::from(*self));
    }
}

impl Get<Str> for String {
    fn get(from: &mut Reader) -> Self {
        let size = from.count();
        String::from_utf8(from.take(size).to_vec()).expect("text that is not UTF-8")
    }
}
impl Put<Str> for str {
    fn put(&self, to: &mut Vec<u8>) {
        put_count(to, self.len());
        to.extend_from_slice(self.as_bytes());
    }
}
impl Put<Str> for String {
    fn put(&self, to: &mut Vec<u8>) {
        Put::<Str>::put(self.as_str(), to);
    }
}

impl Get<Bytes> for Vec<u8> {
    fn get(from: &mut Reader) -> Self {
        let size = from.count();
        from.take(size).to_vec()
    }
}
impl Put<Bytes> for [u8] {
    fn put(&self, to: &mut Vec<u8>) {
        put_count(to, self.len());
        to.extend_from_slice(self);
    }
}
impl Put<Bytes> for Vec<u8> {
    fn put(&self, to: &mut Vec<u8>) {
        Put::<Bytes>::put(self.as_slice(), to);
    }
}

impl Get<None_> for () {
    fn get(from: &mut Reader) -> Self {
        from.take(1);
    }
}
impl Put<None_> for () {
    fn put(&self, to: &mut Vec<u8>) {
        to.push(0);
    }
}

impl<K, T: Get<K>> Get<Optional<K>> for Option<T> {
    fn get(from: &mut Reader) -> Self {
        (from.take(1)[0] != 0).then(|| T::get(from))
    }
}
impl<K, T: Put<K>> Put<Optional<K>> for Option<T> {
    fn put(&self, to: &mut Vec<u8>) {
        to.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.put(to);
        }
    }
}

impl<K, T: Get<K>> Get<List<K>> for Vec<T> {
    fn get(from: &mut Reader) -> Self {
        let count = from.count();
        (0..count).map(|_| T::get(from)).collect()
    }
}
impl<K, T: Put<K>> Put<List<K>> for [T] {
    fn put(&self, to: &mut Vec<u8>) {
        put_count(to, self.len());
        self.iter().for_each(|one| one.put(to));
    }
}
impl<K, T: Put<K>> Put<List<K>> for Vec<T> {
    fn put(&self, to: &mut Vec<u8>) {
        Put::<List<K>>::put(self.as_slice(), to);
    }
}
impl<K, T: Put<K>, const N: usize> Put<List<K>> for [T; N] {
    fn put(&self, to: &mut Vec<u8>) {
        Put::<List<K>>::put(self.as_slice(), to);
    }
}

macro_rules! maps {
    ($($map:ident)*) => {$(
        impl<K, T: Get<K>> Get<Dict<K>> for $map<String, T> {
            fn get(from: &mut Reader) -> Self {
                let count = from.count();
                (0..count)
                    .map(|_| {
                        let key = <String as Get<Str>>::get(from);
                        (key, T::get(from))
                    })
                    .collect()
            }
        }
        impl<K, S: Put<Str>, T: Put<K>> Put<Dict<K>> for $map<S, T> {
            fn put(&self, to: &mut Vec<u8>) {
                put_count(to, self.len());
                for (key, one) in self {
                    key.put(to);
                    one.put(to);
                }
            }
        }
    )*};
}
maps!(HashMap BTreeMap);

impl<K, T: Put<K> + ?Sized> Put<K> for &T {
    fn put(&self, to: &mut Vec<u8>) {
        (**self).put(to);
    }
}

macro_rules! tuples {
    ($($kind:ident $type:ident $at:tt),+) => {
        impl<$($kind, $type: Get<$kind>),+> Get<($($kind,)+)> for ($($type,)+) {
            fn get(from: &mut Reader) -> Self {
                ($($type::get(from),)+)
            }
        }
        impl<$($kind, $type: Put<$kind>),+> Put<($($kind,)+)> for ($($type,)+) {
            fn put(&self, to: &mut Vec<u8>) {
                $(self.$at.put(to);)+
            }
        }
    };
}
tuples!(KA A 0);
tuples!(KA A 0, KB B 1);
tuples!(KA A 0, KB B 1, KC C 2);
tuples!(KA A 0, KB B 1, KC C 2, KD D 3);
tuples!(KA A 0, KB B 1, KC C 2, KD D 3, KE E 4);
tuples!(KA A 0, KB B 1, KC C 2, KD D 3, KE E 4, KF F 5);
tuples!(KA A 0, KB B 1, KC C 2, KD D 3, KE E 4, KF F 5, KG G 6);
tuples!(KA A 0, KB B 1, KC C 2, KD D 3, KE E 4, KF F 5, KG G 6, KH H 7);
tuples!(
    KA A 0, KB B 1, KC C 2, KD D 3, KE E 4, KF F 5,
    KG G 6, KH H 7, KI I 8
);
tuples!(
    KA A 0, KB B 1, KC C 2, KD D 3, KE E 4, KF F 5,
    KG G 6, KH H 7, KI I 8, KJ J 9
);
tuples!(
    KA A 0, KB B 1, KC C 2, KD D 3, KE E 4, KF F 5,
    KG G 6, KH H 7, KI I 8, KJ J 9, KL L 10
);
tuples!(
    KA A 0, KB B 1, KC C 2, KD D 3, KE E 4, KF F 5,
    KG G 6, KH H 7, KI I 8, KJ J 9, KL L 10, KM M 11
);

/// What the running call has said, for another kernel if this one dies; see speaker.py.
struct Story {
    place: String, // where to put it
    tag: String,
    said: Vec<u8>,
    answer: Vec<u8>,
    torn: bool,
    linger: u64, // seconds that it waits; 0 = it is not asked for
    answered: Option<Instant>,
}

const LONGEST: usize = 1 << 24; // bytes of a story beside the answer
const RECENT: Duration = Duration::from_secs(2); // in it a kernel has surely taken an answer

static STORY: Mutex<Option<Story>> = Mutex::new(None);

fn head(kind: &str, tag: &str, size: usize) -> Vec<u8> {
    format!("{kind} {tag} {size}\n").into_bytes()
}

impl Story {
    /// It is about another call from now on.
    fn begin(&mut self, tag: &str) {
        (self.tag, self.torn, self.linger) = (tag.to_string(), false, 0);
        (self.said, self.answer, self.answered) = (Vec::new(), Vec::new(), None);
    }

    fn note(&mut self, kind: &str, stream: &str, text: &[u8]) {
        if self.answered.is_some() {
            return; // by a thread that goes on: nobody hears it
        }
        if self.torn || self.said.len() + text.len() > LONGEST {
            (self.said, self.torn) = (Vec::new(), true);
            return;
        }
        self.said.extend(head(kind, &self.tag, stream.len() + text.len()));
        self.said.extend_from_slice(stream.as_bytes());
        self.said.extend_from_slice(text);
    }

    /// Put it in its place and wait there, if the kernel that is gone wanted that.
    fn outlive(&self) -> std::io::Result<()> {
        let recent = self.answered.is_some_and(|at| at.elapsed() < RECENT);
        if self.linger == 0 || self.torn || !recent {
            return Ok(());
        }
        let part = format!("{}.part", self.place);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(&self.said)?;
        file.write_all(&self.answer)?;
        std::fs::rename(&part, &self.place)?;
        std::thread::sleep(Duration::from_secs(self.linger));
        Ok(())
    }
}

fn in_story(act: impl FnOnce(&mut Story)) {
    if let Some(story) = STORY.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).as_mut() {
        act(story);
    }
}

fn leave() -> ! {
    in_story(|story| drop(story.outlive()));
    std::process::exit(0);
}

/// What the code prints to stdout, where that carries the answers: it comes through a pipe, and
/// goes to stderr in frames, as speaker.py has them.
struct Prints {
    from: File, // does not wait for more
    err: File,
    text: [u8; 2040],
    frame: [u8; 4096],
}

static PRINTS: Mutex<Option<Prints>> = Mutex::new(None);

impl Prints {
    /// Frame what is there.
    fn tell(&mut self) {
        loop {
            let count = match self.from.read(&mut self.text) {
                Ok(count) if count > 0 => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                _ => return,
            };
            in_story(|story| story.note("log", "stdout ", &self.text[..count]));
            let (mut size, frame) = (2, &mut self.frame);
            frame[..2].copy_from_slice(b"\0>");
            for byte in &self.text[..count] {
                let escaped = *byte == 0 || *byte == 0x10;
                if escaped {
                    frame[size] = 0x10;
                    size += 1;
                }
                frame[size] = if escaped { byte ^ 0x40 } else { *byte };
                size += 1;
            }
            frame[size] = 0;
            let _ = self.err.write_all(&frame[..size + 1]);
        }
    }
}

fn drain() {
    let mut held = PRINTS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(prints) = held.as_mut() {
        prints.tell();
    }
}

/// The same for a process that ends, in which some other thread may never give the lock back.
extern "C" fn drain_last() {
    for _ in 0..100 {
        if let Ok(mut held) = PRINTS.try_lock() {
            if let Some(prints) = held.as_mut() {
                prints.tell();
            }
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

extern "C" fn on_abort(number: c_int) {
    drain_last();
    unsafe {
        signal(number, 0);
        raise(number);
    }
}

/// Take stdout for what the code prints from now on.
fn listen_to_prints() {
    let mut ends: [c_int; 2] = [0; 2];
    let waiting = unsafe {
        if pipe(ends.as_mut_ptr()) != 0 {
            return;
        }
        dup2(ends[1], 1);
        drop(File::from_raw_fd(ends[1]));
        fcntl(ends[0], F_SETFD, FD_CLOEXEC);
        fcntl(ends[0], F_SETFL, O_NONBLOCK);
        let err = dup(2);
        fcntl(err, F_SETFD, FD_CLOEXEC);
        let (from, err) = (File::from_raw_fd(ends[0]), File::from_raw_fd(err));
        *PRINTS.lock().unwrap() = Some(Prints { from, err, text: [0; 2040], frame: [0; 4096] });
        atexit(drain_last);
        signal(SIGABRT, on_abort as extern "C" fn(c_int) as usize);
        ends[0]
    };
    std::thread::spawn(move || loop {
        let mut waits = Waits { fd: waiting, events: POLLIN, happened: 0 };
        let told = unsafe { poll(&mut waits, 1, -1) };
        drain();
        if told > 0 && waits.happened & POLLIN == 0 {
            return; // the code has closed its stdout
        }
    });
}

pub fn say(kind: &str, body: &[u8]) {
    let mut held = OUT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some((out, tag)) = held.as_mut() {
        if MARKS.load(Ordering::Relaxed) && (kind == "result" || kind == "failed") {
            // After what the call has printed, where that and its answer go different ways.
            drain();
            let _ = std::io::stderr().write_all(format!("\0{tag}\0").as_bytes());
        }
        if kind == "chunk" {
            in_story(|story| story.note(kind, "", body));
        }
        let mut whole = head(kind, tag, body.len());
        whole.extend_from_slice(body);
        if out.write_all(&whole).is_err() {
            std::process::exit(0);
        }
    }
}

/// Say what ends the call.
fn answer(kind: &str, body: Vec<u8>) {
    say(kind, &body);
    in_story(|story| {
        story.said.extend(head(kind, &story.tag, body.len()));
        (story.answer, story.answered) = (body, Some(Instant::now()));
    });
}

/// An error that the function gave: its type, and what it says.
pub type Refusal = (String, String);

pub fn refusal<E: std::fmt::Display>(error: &E) -> Refusal {
    let full = std::any::type_name::<E>();
    let text = full.contains("str") || full.contains("dyn ");
    let name = if text { "Error" } else { full.split('<').next().unwrap_or(full) };
    (name.to_string(), error.to_string())
}

fn listen_to_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() != Some("main") {
            return before(info);
        }
        let place = info.location().filter(|at| at.file().ends_with("cell.rs"));
        let line = place.map_or(String::new(), |at| at.line().to_string());
        let said = info.payload();
        let message = said
            .downcast_ref::<&str>()
            .map(|text| text.to_string())
            .or_else(|| said.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a value that is no text".to_string());
        *PANIC.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = (line, message);
    }));
}

fn channel() -> (File, File) {
    let place = std::env::var("TWINGRAPH_CHANNEL").unwrap_or_default();
    std::env::remove_var("TWINGRAPH_CHANNEL");
    let marks = std::env::var_os("TWINGRAPH_MARKS").is_some();
    std::env::remove_var("TWINGRAPH_MARKS");
    if let Ok(place) = std::env::var("TWINGRAPH_TOLD") {
        std::env::remove_var("TWINGRAPH_TOLD");
        let (tag, said, answer) = (String::new(), Vec::new(), Vec::new());
        *STORY.lock().unwrap() =
            Some(Story { place, tag, said, answer, torn: false, linger: 0, answered: None });
    }
    unsafe {
        if let Ok(fd) = place.parse::<c_int>() {
            fcntl(fd, F_SETFD, FD_CLOEXEC);
            let other = dup(fd);
            fcntl(other, F_SETFD, FD_CLOEXEC);
            return (File::from_raw_fd(fd), File::from_raw_fd(other));
        }
        let (input, output) = (dup(0), dup(1));
        fcntl(input, F_SETFD, FD_CLOEXEC);
        fcntl(output, F_SETFD, FD_CLOEXEC);
        dup2(open(b"/dev/null\0".as_ptr().cast(), 0), 0);
        dup2(2, 1);
        MARKS.store(marks, Ordering::Relaxed);
        if marks {
            listen_to_prints();
        }
        (File::from_raw_fd(input), File::from_raw_fd(output))
    }
}

/// The next message: its kind, tag and body; ends the process when there is no more.
fn take(input: &mut File, held: &mut Vec<u8>) -> (String, String, Vec<u8>) {
    let mut more = |held: &mut Vec<u8>| {
        let mut chunk = [0u8; 1 << 16];
        match input.read(&mut chunk) {
            Ok(count) if count > 0 => held.extend_from_slice(&chunk[..count]),
            _ => leave(),
        }
    };
    let end = loop {
        match held.iter().position(|byte| *byte == b'\n') {
            Some(end) => break end,
            None => more(held),
        }
    };
    let head = String::from_utf8_lossy(&held[..end]).into_owned();
    let mut words = head.split(' ');
    let kind = words.next().unwrap_or("").to_string();
    let tag = words.next().unwrap_or("0").to_string();
    let size: usize = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    if kind == "call" {
        in_story(|story| story.begin(&tag));
    }
    while held.len() < end + 1 + size {
        more(held);
    }
    let rest = held.split_off(end + 1 + size);
    let body = held.split_off(end + 1);
    *held = rest;
    (kind, tag, body)
}

pub fn serve(component: fn(&mut Reader, &mut Vec<u8>) -> Result<(), Refusal>) {
    let (mut input, output) = channel();
    *OUT.lock().unwrap() = Some((output, String::new()));
    listen_to_panics();
    let mut held = Vec::new();
    loop {
        let (kind, tag, body) = take(&mut input, &mut held);
        if kind == "keep" {
            let linger = String::from_utf8_lossy(&body).parse().unwrap_or(0);
            in_story(|story| if story.tag == tag { story.linger = linger });
            continue;
        }
        if let Some(out) = OUT.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).as_mut() {
            out.1 = tag;
        }
        let mut given = Vec::new();
        let mut reader = Reader { body: &body };
        let done = catch_unwind(AssertUnwindSafe(|| component(&mut reader, &mut given)));
        let _ = std::io::stdout().flush();
        match done {
            Ok(Ok(())) => answer("result", given),
            Ok(Err((name, message))) => {
                answer("failed", format!("{name}\n\n{message}").into_bytes())
            }
            Err(_) => {
                let panic = PANIC.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                answer("failed", format!("panic\n{}\n{}", panic.0, panic.1).into_bytes());
            }
        }
    }
}
