// Runs a grid of blocks on one system thread: the threads of a block are fibers that switch where they wait
// for one another, the blocks come one after another. The order of both is chosen from outside. What a device
// would do wrong silently, or hang at, ends the launch with a message.
#include <link.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <vector>

#include "block.hpp"

#define CUDASIM_EXPORT extern "C" __attribute__((visibility("default")))

extern "C" {
__attribute__((visibility("default"))) uint3 cudasim_thread, cudasim_block, cudasim_block_size,
    cudasim_grid_size;
}

namespace cudasim {
namespace {

Order block_order = Order::forward;
uint64_t seed = 0;
std::mutex one_at_a_time;

struct SharedMemory {
  const char* anchor;
  char* start;
  size_t size;
};

int find_shared(dl_phdr_info* info, size_t, void* data) {
  auto& shared = *static_cast<SharedMemory*>(data);
  const auto* const start = static_cast<char*>(info->dlpi_tls_data);
  for (int i = 0; start != nullptr && i < info->dlpi_phnum; ++i) {
    const auto size = info->dlpi_phdr[i].p_memsz;
    if (info->dlpi_phdr[i].p_type != PT_TLS || shared.anchor < start || shared.anchor >= start + size)
      continue;
    shared.start = static_cast<char*>(info->dlpi_tls_data);
    shared.size = size;
    return 1;
  }
  return 0;
}

#ifdef CUDASIM_THREAD
// A system thread for each block: its thread-local storage is new to the detector, and its fibers know
// nothing of those of the blocks before.
void* block_of_its_own(void*) {
  launch->scheduler.tsan = __tsan_get_current_fiber();
  for (unsigned i = 0; i < launch->threads; ++i) launch->fibers[i].context.tsan = __tsan_create_fiber(0);
  run_block();
  return nullptr;
}

void one_block(std::vector<void*>& fibers) {
  pthread_t thread;
  if (pthread_create(&thread, nullptr, block_of_its_own, nullptr) != 0) abort();
  pthread_join(thread, nullptr);
  for (unsigned i = 0; i < launch->threads; ++i) fibers.push_back(launch->fibers[i].context.tsan);
}
#endif

void run_blocks(const SharedMemory& shared, unsigned grid) {
  std::vector<unsigned> blocks(grid);
  arrange(blocks.data(), grid, block_order);
  std::vector<Meetings> meetings(grid);
  [[maybe_unused]] std::vector<void*>
      tsan_fibers;  // kept to the end: a new one must not be taken for an old one
  for (const unsigned block : blocks) {
    if (shared.size != 0) memset(shared.start, 0xa5, shared.size);
    cudasim_block.x = block;
    launch->meetings = &meetings[block];
#ifdef CUDASIM_THREAD
    one_block(tsan_fibers);
#else
    run_block();
#endif
    if (launch->failed) break;
  }
#ifdef CUDASIM_THREAD
  __tsan_acquire(launch);  // the end of a launch comes after all that its threads did
  for (void* const fiber : tsan_fibers) __tsan_destroy_fiber(fiber);
#endif
}

// ---- faults of the processor ----

#if !defined(CUDASIM_ADDRESS) && !defined(CUDASIM_THREAD)
sigjmp_buf after_signal;
constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE};

void on_signal(int number, siginfo_t* info, void*) {
  if (launch != nullptr) {
    if (number == SIGFPE) say("an integer division by zero");
    else say("illegal memory access at %p", info->si_addr);
  }
  siglongjmp(after_signal, 1);
}

// A fault in a kernel ends the launch, not the process.
void run_guarded(const SharedMemory& shared, unsigned grid) {
  static char* const stack = static_cast<char*>(malloc(64 << 10));  // its own: a fiber's may be what ran over
  stack_t own = {}, before_stack = {};
  own.ss_sp = stack;
  own.ss_size = 64 << 10;
  sigaltstack(&own, &before_stack);
  struct sigaction action = {}, before[3];
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &action, &before[i]);
  if (sigsetjmp(after_signal, 1) == 0) run_blocks(shared, grid);
  for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &before[i], nullptr);
  sigaltstack(&before_stack, nullptr);
}
#else
void run_guarded(const SharedMemory& shared, unsigned grid) { run_blocks(shared, grid); }
#endif

Order order_of(const char* word) {
  return word != nullptr && word[0] == 'r' && word[1] == 'e'   ? Order::reverse
         : word != nullptr && word[0] == 'r' && word[1] == 'a' ? Order::random
                                                               : Order::forward;
}

}  // namespace
}  // namespace cudasim

using namespace cudasim;

CUDASIM_EXPORT unsigned cudasim_thread_index() { return launch->current; }
CUDASIM_EXPORT void cudasim_barrier(int line) { meet_at_barrier(line); }
CUDASIM_EXPORT uint64_t cudasim_warp(int line, int kind, unsigned mask, uint64_t value, unsigned lane,
                                     int width) {
  return meet_in_warp(line, kind, mask, value, lane, width);
}

CUDASIM_EXPORT void cudasim_fault(const char* what, const char* file, int line) {
  if (file != nullptr) say("%s, %s:%d", what, file, line);
  else say("%s, line %d", what, line);
  wait_for_turn(true);
  abort();
}

#ifdef CUDASIM_THREAD
CUDASIM_EXPORT void cudasim_fence() {
  Fiber& fiber = launch->fibers[launch->current];
  fiber.fenced = true;
  for (const void* const address : fiber.seen) __tsan_acquire(const_cast<void*>(address));
  fiber.seen.clear();
}
CUDASIM_EXPORT void cudasim_after_atomic(const void* address) {
  Fiber& fiber = launch->fibers[launch->current];
  if (fiber.fenced) __tsan_release(const_cast<void*>(address));
  fiber.fenced = false;
  fiber.seen.push_back(address);
}
#else
CUDASIM_EXPORT void cudasim_fence() {}
CUDASIM_EXPORT void cudasim_after_atomic(const void*) {}
#endif

// "forward", "reverse" or "random" for the threads of a block and for the blocks of a grid.
CUDASIM_EXPORT void cudasim_order(const char* threads, const char* blocks, uint64_t new_seed) {
  thread_order = order_of(threads);
  block_order = order_of(blocks);
  seed = new_seed;
}

// Why the last launch ended early.
CUDASIM_EXPORT const char* cudasim_message() { return message; }

CUDASIM_EXPORT int cudasim_launch(void (*entry)(const void*), char* anchor, const void* arguments,
                                  unsigned grid, unsigned block) {
  const std::lock_guard<std::mutex> lock(one_at_a_time);
  static Launch all;
  launch = &all;
  message[0] = 0;
  all.failed = false;
  all.entry = entry;
  all.arguments = arguments;
  all.threads = block;
  dice = seed;
  cudasim_thread = cudasim_block = {0, 0, 0};
  cudasim_block_size = {block, 1, 1};
  cudasim_grid_size = {grid, 1, 1};
  SharedMemory shared = {anchor, nullptr, 0};
  if (anchor != nullptr) dl_iterate_phdr(find_shared, &shared);
  if (block == 0 || block > kThreads || grid == 0) say("%u blocks of %u threads", grid, block);
  else run_guarded(shared, grid);
  for (Fiber& fiber : all.fibers) give_stack_back(fiber);  // of those that were left where they stood
  launch = nullptr;
  return all.failed ? 1 : 0;
}
