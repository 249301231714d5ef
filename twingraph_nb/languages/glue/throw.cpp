// Stands before the function of the standard library that throws, to note where that happens.
// A file of its own: where something is thrown the compiler declares it itself, and differently.
#include <cstdlib>
#include <dlfcn.h>

extern "C" void twingraph_note_throw();

#ifdef TWINGRAPH_WRAPPED // in a static program it is the linker that leads all who throw here
extern "C" void __real___cxa_throw(void *what, void *kind, void (*destroy)(void *));

extern "C" void __wrap___cxa_throw(void *what, void *kind, void (*destroy)(void *)) {
  twingraph_note_throw();
  __real___cxa_throw(what, kind, destroy);
  std::abort();
}
#else
extern "C" void __cxa_throw(void *what, void *kind, void (*destroy)(void *)) {
  using Throw = void (*)(void *, void *, void (*)(void *));
  static const Throw next = reinterpret_cast<Throw>(dlsym(RTLD_NEXT, "__cxa_throw"));
  twingraph_note_throw();
  next(what, kind, destroy);
  std::abort();
}
#endif
