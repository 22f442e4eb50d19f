// A stack of its own and a switch to it. A hand-written switch where there is one: a block of 256 threads
// with a few barriers is thousands of them.
#pragma once
#include <cstddef>
#include <cstdint>
#ifndef __x86_64__
#include <ucontext.h>
#endif

#ifdef CUDASIM_ADDRESS
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef CUDASIM_THREAD
#include <sanitizer/tsan_interface.h>
#endif

namespace cudasim {

struct Context {
#ifdef __x86_64__
  void* sp;
#else
  ucontext_t context;
#endif
  // What a sanitizer has to know of a stack.
  void* fake = nullptr;
  const void* bottom = nullptr;
  size_t size = 0;
  void* tsan = nullptr;
};

#ifdef __x86_64__
extern "C" void cudasim_switch(void** from, void* to);
asm(R"(
.text
.p2align 4
.hidden cudasim_switch
.globl cudasim_switch
.type cudasim_switch, @function
cudasim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmp *%rcx
.size cudasim_switch, .-cudasim_switch
)");
#endif

inline void enter(Context& context, char* stack, size_t size, void (*function)()) {
  context.bottom = stack;
  context.size = size;
  context.fake = nullptr;
#ifdef __x86_64__
  auto** top =
      reinterpret_cast<void**>(stack + size) - 1;  // as a call would leave it: 8 bytes off a multiple of 16
  *top = nullptr;                                  // where function would return to, if it did
  *--top = reinterpret_cast<void*>(function);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  context.sp = top;
#else
  getcontext(&context.context);
  context.context.uc_stack.ss_sp = stack;
  context.context.uc_stack.ss_size = size;
  context.context.uc_link = nullptr;
  makecontext(&context.context, function, 0);
#endif
}

// After each switch, in the context that goes on.
inline void arrived([[maybe_unused]] Context& here, [[maybe_unused]] Context& before) {
#ifdef CUDASIM_ADDRESS
  __sanitizer_finish_switch_fiber(here.fake, &before.bottom, &before.size);
#endif
}

// `ends`: nobody comes back to `from`.
inline void change(Context& from, Context& to, [[maybe_unused]] bool ends) {
#ifdef CUDASIM_ADDRESS
  __sanitizer_start_switch_fiber(ends ? nullptr : &from.fake, to.bottom, to.size);
#endif
#ifdef CUDASIM_THREAD
  __tsan_switch_to_fiber(to.tsan, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef __x86_64__
  cudasim_switch(&from.sp, to.sp);
#else
  swapcontext(&from.context, &to.context);
#endif
  arrived(from, to);
}

}  // namespace cudasim
