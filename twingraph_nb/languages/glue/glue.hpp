// What a C++ component is compiled with; comes before the cell. packed.py says how values are
// written, speaker.py how messages are.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <limits>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <unordered_map>
#include <utility>
#include <vector>

#include <cerrno>
#include <cxxabi.h>
#include <csignal>
#include <ctime>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#ifdef TWINGRAPH_LINES
#include <unwind.h>
#endif

namespace twingraph {

inline int in = 0, out = 1;
inline std::string tag = "0";
inline bool marks = false;

/// What the running call has said, for another kernel if this one dies; see speaker.py.
struct Story {
  static constexpr std::size_t longest = 1 << 24; // bytes of it beside the answer
  static constexpr double recent = 2.0; // seconds in which a kernel has surely taken an answer
  std::string place; // where to put it; nothing is noted without
  std::string tag, said, answer;
  bool over = false, torn = false;
  unsigned linger = 0; // seconds that it waits; 0 = it is not asked for
  timespec answered{};
  pthread_mutex_t noting = PTHREAD_MUTEX_INITIALIZER; // what is printed is noted by a thread

  static std::string head(const std::string &kind, const std::string &tag, std::size_t size) {
    return kind + " " + tag + " " + std::to_string(size) + "\n";
  }
  void begin(const std::string &other) {
    pthread_mutex_lock(&noting);
    tag = other;
    said.clear();
    answer = std::string(); // lets go of its memory
    over = torn = false;
    linger = 0;
    pthread_mutex_unlock(&noting);
  }
  void note(const char *kind, const std::string &first, const char *text, std::size_t size) {
    if (place.empty()) return;
    pthread_mutex_lock(&noting);
    torn = torn || said.size() + size > longest;
    if (torn) said.clear();
    else if (!over) said.append(head(kind, tag, first.size() + size)).append(first).append(text, size);
    pthread_mutex_unlock(&noting);
  }
  void end(const char *kind, std::string &&body) {
    if (place.empty()) return;
    pthread_mutex_lock(&noting);
    over = true;
    said += head(kind, tag, body.size());
    answer = std::move(body);
    clock_gettime(CLOCK_MONOTONIC, &answered);
    pthread_mutex_unlock(&noting);
  }
  /// Put it in its place and wait there, if the kernel that is gone wanted that.
  void outlive() const {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    double since = static_cast<double>(now.tv_sec - answered.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec - answered.tv_nsec);
    if (linger == 0 || !over || torn || since > recent) return;
    std::string part = place + ".part";
    int to = ::open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (to < 0) return;
    for (const std::string *one : {&said, &answer}) {
      for (std::size_t at = 0; at < one->size();) {
        ssize_t count = ::write(to, one->data() + at, one->size() - at);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return;
        at += static_cast<std::size_t>(count);
      }
    }
    ::close(to);
    if (std::rename(part.c_str(), place.c_str()) != 0) return;
    for (unsigned left = linger; left > 0;) left = ::sleep(left);
  }
};
inline Story story;

/// What the code prints to stdout, where that carries the answers: it comes through a pipe, and
/// goes to stderr in frames, as speaker.py has them.
inline int printed = -1; // where we read it
inline pthread_mutex_t telling = PTHREAD_MUTEX_INITIALIZER;
inline struct sigaction before_crash[NSIG];

/// Frame what is there; false if there will be no more. To be called by who is `telling`.
inline bool tell() {
  static char text[2040], frame[4096];
  for (;;) {
    ssize_t count = ::read(printed, text, sizeof text);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return count < 0;
    story.note("log", "stdout ", text, static_cast<std::size_t>(count));
    std::size_t size = 0;
    frame[size++] = '\0';
    frame[size++] = '>';
    for (ssize_t at = 0; at < count; ++at) {
      bool escaped = text[at] == '\0' || text[at] == '\x10';
      if (escaped) frame[size++] = '\x10';
      frame[size++] = escaped ? text[at] ^ '\x40' : text[at];
    }
    frame[size++] = '\0';
    while (::write(2, frame, size) < 0 && errno == EINTR) {
    }
  }
}

inline bool drain() {
  if (printed < 0) return false;
  pthread_mutex_lock(&telling);
  bool more = tell();
  pthread_mutex_unlock(&telling);
  return more;
}

/// The same for a process that ends, in which some other thread may never give the lock back.
inline void drain_last() {
  for (int tries = 0; printed >= 0 && tries < 100; ++tries) {
    if (pthread_mutex_trylock(&telling) == 0) {
      tell();
      pthread_mutex_unlock(&telling);
      return;
    }
    usleep(1000);
  }
}

inline void on_crash(int number) {
  drain_last();
  sigaction(number, &before_crash[number], nullptr);
  raise(number);
}

inline void *pump(void *) {
  pollfd waiting{printed, POLLIN, 0};
  do {
    ::poll(&waiting, 1, -1);
  } while (drain());
  return nullptr;
}

/// Take stdout for what the code prints from now on.
inline void listen_to_prints() {
  int ends[2];
  if (pipe(ends) != 0) return;
  printed = ends[0];
  fcntl(printed, F_SETFL, O_NONBLOCK);
  fcntl(printed, F_SETFD, FD_CLOEXEC);
  dup2(ends[1], 1);
  ::close(ends[1]);
  std::atexit(drain_last);
  struct sigaction crash {};
  crash.sa_handler = on_crash;
  for (int number : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV}) {
    sigaction(number, &crash, &before_crash[number]);
  }
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); // signals are for the code's own thread
  pthread_t thread;
  if (pthread_create(&thread, nullptr, pump, nullptr) == 0) pthread_detach(thread);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

[[noreturn]] inline void leave(int code) {
  std::fflush(nullptr);
  drain_last();
  _exit(code);
}

inline void write_all(const char *from, std::size_t size) {
  while (size > 0) {
    ssize_t count = ::write(out, from, size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) leave(0);
    from += count;
    size -= static_cast<std::size_t>(count);
  }
}

/// After what the call has printed, where that and its answer go different ways.
inline void mark() {
  std::fflush(stdout);
  drain();
  std::string text = '\0' + tag + '\0';
  if (::write(2, text.data(), text.size()) < 0) return; // nobody listens
}

inline void say(const char *kind, const std::string &body) {
  bool last = std::strcmp(kind, "result") == 0 || std::strcmp(kind, "failed") == 0;
  if (last && marks) mark();
  if (std::strcmp(kind, "chunk") == 0) story.note(kind, "", body.data(), body.size());
  std::string head = Story::head(kind, tag, body.size());
  if (body.size() < 65536) {
    head += body;
    write_all(head.data(), head.size());
  } else {
    write_all(head.data(), head.size());
    write_all(body.data(), body.size());
  }
}

/// Say what ends the call.
inline void answer(const char *kind, std::string body) {
  say(kind, body);
  story.end(kind, std::move(body));
}

/// Tell how far the task is: a number from 0 to 1, and a few words.
inline void progress(double fraction, const std::string &message = "") {
  char number[32];
  std::snprintf(number, sizeof number, "%.6f", fraction);
  say("progress", std::string(number) + " " + message);
}

/// The kinds of values. Each reads what the kernel sent, and writes what the function gave.
struct Int;
struct Float;
struct Bool;
struct Str;
struct Bytes;
struct None;
template <class K> struct Optional;
template <class K> struct List;
template <class K> struct Dict;
template <class... Ks> struct Tuple;

template <class> inline constexpr bool never = false;

struct Reader {
  const char *at, *end;
  template <class T> T raw() {
    T value;
    if (static_cast<std::size_t>(end - at) < sizeof value) {
      throw std::runtime_error("the call ends early");
    }
    std::memcpy(&value, at, sizeof value);
    at += sizeof value;
    return value;
  }
  const char *skip(std::size_t size) {
    if (static_cast<std::size_t>(end - at) < size) throw std::runtime_error("the call ends early");
    at += size;
    return at - size;
  }
};

template <class T> void put_raw(std::string &to, T value) {
  to.append(reinterpret_cast<const char *>(&value), sizeof value);
}

inline void put_count(std::string &to, std::size_t count) {
  if (count > std::numeric_limits<std::uint32_t>::max()) {
    throw std::length_error("a value of more than 4 GiB or 2**32 items");
  }
  put_raw(to, static_cast<std::uint32_t>(count));
}

struct Int {
  using type = std::int64_t;
  static type get(Reader &r) { return r.raw<type>(); }
  template <class V> static void put(std::string &to, const V &value) {
    static_assert(std::is_integral_v<V>, "[twingraph] an output is not the int that the magic line says");
    if constexpr (std::is_unsigned_v<V> && sizeof(V) == 8) {
      if (value > static_cast<V>(std::numeric_limits<type>::max())) {
        throw std::range_error(std::to_string(value) + " does not fit 64 bits with a sign");
      }
    }
    put_raw(to, static_cast<type>(value));
  }
};

struct Float {
  using type = double;
  static type get(Reader &r) { return r.raw<type>(); }
  template <class V> static void put(std::string &to, const V &value) {
    static_assert(std::is_arithmetic_v<V>, "[twingraph] an output is not the float that the magic line says");
    put_raw(to, static_cast<type>(value));
  }
};

struct Bool {
  using type = bool;
  static type get(Reader &r) { return r.raw<std::uint8_t>() != 0; }
  template <class V> static void put(std::string &to, const V &value) {
    static_assert(std::is_convertible_v<V, bool> && !std::is_floating_point_v<V>,
                  "[twingraph] an output is not the bool that the magic line says");
    put_raw(to, static_cast<std::uint8_t>(static_cast<bool>(value)));
  }
};

struct Str {
  using type = std::string;
  static type get(Reader &r) {
    auto size = r.raw<std::uint32_t>();
    return type(r.skip(size), size);
  }
  template <class V> static void put(std::string &to, const V &value) {
    static_assert(std::is_convertible_v<V, std::string>,
                  "[twingraph] an output is not the str (std::string) that the magic line says");
    const std::string text = value;
    put_count(to, text.size());
    to += text;
  }
};

struct Bytes {
  using type = std::vector<std::uint8_t>;
  static type get(Reader &r) {
    auto size = r.raw<std::uint32_t>();
    const char *from = r.skip(size);
    return type(from, from + size);
  }
  template <class V> static void put(std::string &to, const V &value) {
    static_assert(sizeof(*std::data(value)) == 1,
                  "[twingraph] an output is not the bytes (std::vector<std::uint8_t>) that the magic line says");
    put_count(to, std::size(value));
    to.append(reinterpret_cast<const char *>(std::data(value)), std::size(value));
  }
};

struct None {
  using type = std::nullptr_t;
  static type get(Reader &r) {
    r.skip(1);
    return nullptr;
  }
  template <class V> static void put(std::string &to, const V &) { to.push_back('\0'); }
};

template <class K> struct Optional {
  using type = std::optional<typename K::type>;
  static type get(Reader &r) {
    return r.raw<std::uint8_t>() ? type(K::get(r)) : type();
  }
  template <class V> static void put(std::string &to, const std::optional<V> &value) {
    put_raw(to, static_cast<std::uint8_t>(value.has_value()));
    if (value) K::put(to, *value);
  }
  static void put(std::string &to, std::nullopt_t) { put_raw(to, std::uint8_t{0}); }
  template <class V> static void put(std::string &to, const V &value) {
    put_raw(to, std::uint8_t{1});
    K::put(to, value);
  }
};

template <class K> struct List {
  using type = std::vector<typename K::type>;
  static type get(Reader &r) {
    std::size_t count = r.raw<std::uint32_t>();
    type values;
    if constexpr (std::is_same_v<K, Int> || std::is_same_v<K, Float>) {
      const char *from = r.skip(count * sizeof(typename K::type));
      values.resize(count);
      if (count) std::memcpy(values.data(), from, count * sizeof(typename K::type));
    } else {
      for (; count > 0; --count) values.push_back(K::get(r));
    }
    return values;
  }
  template <class V> static void put(std::string &to, const V &values) {
    put_count(to, std::size(values));
    for (const auto &one : values) put_one(to, one);
  }
  static void put(std::string &to, const std::vector<bool> &values) {
    put_count(to, values.size());
    for (bool one : values) put_one(to, one);
  }

private:
  template <class V> static void put_one(std::string &to, const V &one) { K::put(to, one); }
};

template <class K> struct Dict {
  using type = std::map<std::string, typename K::type>;
  static type get(Reader &r) {
    type values;
    for (std::size_t count = r.raw<std::uint32_t>(); count > 0; --count) {
      std::string key = Str::get(r);
      values.insert_or_assign(std::move(key), K::get(r));
    }
    return values;
  }
  template <class V> static void put(std::string &to, const V &values) {
    put_count(to, std::size(values));
    for (const auto &[key, one] : values) {
      Str::put(to, key);
      K::put(to, one);
    }
  }
};

template <class... Ks> struct Tuple {
  using type = std::tuple<typename Ks::type...>;
  static type get(Reader &r) { return type{Ks::get(r)...}; } // braces: from left to right
  template <class V> static void put(std::string &to, const V &values) {
    static_assert(std::tuple_size_v<V> == sizeof...(Ks),
                  "[twingraph] an output is not the tuple that the magic line says");
    std::apply([&](const auto &...one) { (Ks::put(to, one), ...); }, values);
  }
};

inline std::string demangled(const char *name) {
  int status = 0;
  char *made = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string text = status == 0 && made ? made : name;
  std::free(made);
  return text;
}

/// Where the last exception was thrown: the addresses of the calls that led there.
inline thread_local void *thrown[64];
inline thread_local int depth = 0;

/// Those addresses, each after the separator.
inline std::string addresses(const char *separator) {
  std::string found;
  for (int at = 0; at < depth; ++at) {
    char address[32];
    // Each is where its call returns to: the byte before belongs to the call.
    std::snprintf(address, sizeof address, "%p", static_cast<void *>(static_cast<char *>(thrown[at]) - 1));
    found += separator;
    found += address;
  }
  return found;
}

/// The lines of the cell among those addresses, innermost first; binutils knows them. Where we
/// were built elsewhere, that is where they are.
inline std::string lines() {
  std::string found;
  if (depth == 0) return found;
#ifdef TWINGRAPH_WRAPPED
  return addresses(",");
#endif
  std::string command = "addr2line -i -e /proc/" + std::to_string(getpid()) + "/exe" + addresses(" ");
  FILE *said = popen((command + " 2>/dev/null").c_str(), "r");
  char line[4096];
  while (said && std::fgets(line, sizeof line, said)) {
    const char *number = std::strstr(line, "/cell.cpp:");
    if (number) found += (found.empty() ? "" : ",") + std::to_string(std::atoi(number + 10));
  }
  if (said) pclose(said);
  return found;
}

inline void failed(const std::string &type, const std::string &message) {
  answer("failed", type + "\n" + lines() + "\n" + message);
}

/// One line of the channel, without its end; leaves when there is no more.
struct Channel {
  std::vector<char> held = std::vector<char>(1 << 16);
  std::size_t from = 0, to = 0;
  void fill() {
    for (;;) {
      ssize_t count = ::read(in, held.data(), held.size());
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) {
        story.outlive();
        leave(0);
      }
      from = 0;
      to = static_cast<std::size_t>(count);
      return;
    }
  }
  std::string line() {
    std::string text;
    for (;; ++from) {
      if (from == to) fill();
      if (held[from] == '\n') break;
      text += held[from];
    }
    ++from;
    return text;
  }
  std::string body(std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t at = 0; at < size;) {
      if (from == to) fill();
      std::size_t count = std::min(size - at, to - from);
      std::memcpy(&text[at], &held[from], count);
      at += count;
      from += count;
    }
    return text;
  }
};

inline void open_channel() {
  const char *where = std::getenv("TWINGRAPH_CHANNEL");
  if (where && std::strcmp(where, "stdio") != 0) {
    in = out = std::atoi(where);
    fcntl(in, F_SETFD, FD_CLOEXEC);
  } else {
    in = fcntl(0, F_DUPFD_CLOEXEC, 3);
    out = fcntl(1, F_DUPFD_CLOEXEC, 3);
    int nothing = ::open("/dev/null", O_RDONLY);
    dup2(nothing, 0);
    dup2(2, 1);
    marks = std::getenv("TWINGRAPH_MARKS") != nullptr;
    if (marks) listen_to_prints();
  }
  if (const char *place = std::getenv("TWINGRAPH_TOLD")) story.place = place;
  for (const char *name : {"CHANNEL", "MARKS", "TOLD"}) unsetenv((std::string("TWINGRAPH_") + name).c_str());
  std::setvbuf(stdout, nullptr, _IOLBF, 1 << 16);
}

template <class Component> int serve(Component component) {
  open_channel();
  Channel channel;
  for (;;) {
    std::string head = channel.line();
    std::size_t first = head.find(' '), second = head.find(' ', first + 1);
    if (second == std::string::npos) return 2;
    std::string about = head.substr(first + 1, second - first - 1);
    bool keep = head.compare(0, first, "keep") == 0;
    if (!keep) story.begin(about);
    std::string body = channel.body(std::stoull(head.substr(second + 1)));
    if (keep) {
      if (about == tag) story.linger = static_cast<unsigned>(std::strtoul(body.c_str(), nullptr, 10));
      continue;
    }
    tag = about;
    std::string given;
    depth = 0;
    try {
      Reader reader{body.data(), body.data() + body.size()};
      component(reader, given);
      std::fflush(stdout);
      answer("result", std::move(given));
    } catch (const std::exception &error) {
      std::fflush(stdout);
      failed(demangled(typeid(error).name()), error.what());
    } catch (const std::string &text) {
      failed("std::string", text);
    } catch (const char *text) {
      failed("char const*", text);
    } catch (...) {
      const std::type_info *kind = abi::__cxa_current_exception_type();
      failed(kind ? demangled(kind->name()) : "unknown", "it is not a std::exception");
    }
  }
}

} // namespace twingraph

#ifdef TWINGRAPH_LINES
/// throw.cpp calls it when an exception is thrown.
extern "C" void twingraph_note_throw() {
  twingraph::depth = 0;
  auto note = [](_Unwind_Context *where, void *) {
    twingraph::thrown[twingraph::depth++] = reinterpret_cast<void *>(_Unwind_GetIP(where));
    return twingraph::depth < 64 ? _URC_NO_REASON : _URC_END_OF_STACK;
  };
  _Unwind_Backtrace(note, nullptr);
}
#endif
