// The threads of one block: fibers that run by turns, and wait for one another at barriers and in warps.
#pragma once
#include <sys/mman.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "device.hpp"
#include "fiber.hpp"

namespace cudasim {
namespace {

constexpr unsigned kThreads = 1024;  // of a block, at most
constexpr unsigned kWarp = 32;
#ifdef CUDASIM_ADDRESS
constexpr size_t kStack = 256 << 10;
#else
constexpr size_t kStack = 64 << 10;
#endif
constexpr size_t kGuard = 4096;

enum class Order { forward, reverse, random };
enum class State : unsigned char { fresh, ready, at_barrier, at_warp, done };

struct Fiber {
  Context context;
  char* stack = nullptr;
  State state = State::fresh;
  int line = 0;  // where it waits
  int kind = 0;
  unsigned mask = 0, lane = 0;
  int width = 0;
  uint64_t value = 0, result = 0;
  // For the thread sanitizer: an atomic operation releases what a fence before it made visible, and a fence
  // acquires what the atomic operations before it have seen.
  bool fenced = false;
  std::vector<const void*> seen;
};

// Addresses by which the thread sanitizer knows where the threads of one block meet, by turns.
struct Meetings {
  char barrier[2], warp[kThreads / kWarp][2];
};

struct Launch {
  void (*entry)(const void*);
  const void* arguments;
  unsigned threads;
  Context scheduler;
  Fiber fibers[kThreads];
  unsigned order[kThreads];
  unsigned current = 0, waiting = 0, ended = 0;
  unsigned barriers = 0;  // passed by the block
  bool failed = false;
  Meetings* meetings;
  unsigned warp_turn[kThreads / kWarp] = {};
};

Launch* launch = nullptr;
Order thread_order = Order::forward;
uint64_t dice = 0;
char message[512];
std::vector<char*> free_stacks;

uint64_t random_number() {  // SplitMix64
  uint64_t z = dice += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

void arrange(unsigned* items, unsigned count, Order order) {
  for (unsigned i = 0; i < count; ++i) items[i] = order == Order::reverse ? count - 1 - i : i;
  if (order != Order::random) return;
  for (unsigned i = count; i > 1; --i) std::swap(items[i - 1], items[random_number() % i]);
}

__attribute__((format(printf, 1, 2))) void say(const char* format, ...) {
  if (launch->failed) return;  // the first word counts
  launch->failed = true;
  const int length =
      snprintf(message, sizeof message, "block %u, thread %u: ", cudasim_block.x, launch->current);
  va_list values;
  va_start(values, format);
  vsnprintf(message + length, sizeof message - size_t(length), format, values);
  va_end(values);
}

char* take_stack() {
  if (!free_stacks.empty()) {
    char* const stack = free_stacks.back();
    free_stacks.pop_back();
    return stack;
  }
  void* const whole = mmap(nullptr, kStack + kGuard, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (whole == MAP_FAILED) abort();
  mprotect(whole, kGuard, PROT_NONE);  // a stack that runs over faults
  return static_cast<char*>(whole) + kGuard;
}

void give_stack_back(Fiber& fiber) {
  if (fiber.stack == nullptr) return;
#ifdef CUDASIM_THREAD
  munmap(fiber.stack - kGuard, kStack + kGuard);  // the detector forgets who wrote there
#else
  free_stacks.push_back(fiber.stack);
#endif
  fiber.stack = nullptr;
}

// ---- in a fiber ----

void wait_for_turn(bool ends = false) {
  Fiber& fiber = launch->fibers[launch->current];
  change(fiber.context, launch->scheduler, ends);
}

void body() {
  Fiber& fiber = launch->fibers[launch->current];
  arrived(fiber.context, launch->scheduler);
  launch->entry(launch->arguments);
#ifdef CUDASIM_THREAD
  __tsan_release(launch);
#endif
  fiber.state = State::done;
  ++launch->ended;
  wait_for_turn(true);
  abort();
}

void meet_at_barrier(int line) {
  Launch& all = *launch;
  Fiber& fiber = all.fibers[all.current];
  fiber.state = State::at_barrier;
  fiber.line = line;
#ifdef CUDASIM_THREAD
  char* const sync = &all.meetings->barrier[all.barriers % 2];
  __tsan_release(sync);
#endif
  if (++all.waiting == all.threads) {
    for (unsigned i = 0; i < all.threads; ++i) {
      if (all.fibers[i].line != line)
        say("waits at the barrier of line %d, thread %u at that of line %d", line, i, all.fibers[i].line);
      all.fibers[i].state = State::ready;
    }
    all.waiting = 0;
    ++all.barriers;
  }
  wait_for_turn();
#ifdef CUDASIM_THREAD
  __tsan_acquire(sync);
#endif
}

uint64_t shuffled(const Fiber* lanes, unsigned me, const Fiber& fiber) {
  const auto width = unsigned(fiber.width);
  const unsigned start = me / width * width, by = fiber.lane;
  unsigned from = me;
  switch (fiber.kind) {
    case kIndex: from = start + by % width; break;
    case kUp: from = me - start >= by ? me - by : me; break;
    case kDown: from = by < width - (me - start) ? me + by : me; break;
    case kXor: from = (me ^ by) < start + width ? me ^ by : me; break;
    default: break;
  }
  // What a lane that does not take part would send is undefined.
  return (fiber.mask >> from & 1u) != 0 ? lanes[from].value : 0xa5a5a5a5a5a5a5a5u;
}

// Once all lanes of the mask are there: what each of them gets.
void complete_warp(Fiber* lanes, unsigned mask) {
  unsigned yes = 0;
  for (unsigned l = 0; l < kWarp; ++l)
    if ((mask >> l & 1u) != 0 && lanes[l].value != 0) yes |= 1u << l;
  for (unsigned l = 0; l < kWarp; ++l) {
    if ((mask >> l & 1u) == 0) continue;
    Fiber& lane = lanes[l];
    lane.state = State::ready;
    switch (lane.kind) {
      case kSync: lane.result = 0; break;
      case kBallot: lane.result = yes; break;
      case kAll: lane.result = yes == mask; break;
      case kAny: lane.result = yes != 0; break;
      default: lane.result = shuffled(lanes, l, lane);
    }
  }
}

uint64_t meet_in_warp(int line, int kind, unsigned mask, uint64_t value, unsigned lane, int width) {
  Launch& all = *launch;
  const unsigned warp = all.current / kWarp, me = all.current % kWarp;
  Fiber* const lanes = &all.fibers[warp * kWarp];
  Fiber& fiber = lanes[me];
  if (const unsigned there = all.threads - warp * kWarp; there < kWarp) mask &= (1u << there) - 1;
  if ((mask >> me & 1u) == 0) say("lane %u takes part in line %d, but its mask is %#x", me, line, mask);
  if (width <= 0 || width > int(kWarp) || (width & (width - 1)) != 0) say("width %d in line %d", width, line);
  if (all.failed) wait_for_turn();
  fiber.state = State::at_warp;
  fiber.line = line, fiber.kind = kind, fiber.mask = mask;
  fiber.value = value, fiber.lane = lane, fiber.width = width;
#ifdef CUDASIM_THREAD
  char* const sync = &all.meetings->warp[warp][all.warp_turn[warp] % 2];
  if (kind == kSync) __tsan_release(sync);  // a shuffle orders no memory
#endif
  bool complete = true;
  for (unsigned l = 0; l < kWarp; ++l) {
    if ((mask >> l & 1u) == 0) continue;
    complete = complete && lanes[l].state == State::at_warp;
    if (lanes[l].state == State::at_warp && (lanes[l].line != line || lanes[l].mask != mask))
      say("lane %u waits at line %d for mask %#x, lane %u at line %d for mask %#x", me, line, mask, l,
          lanes[l].line, lanes[l].mask);
  }
  if (complete) {
    ++all.warp_turn[warp];
    complete_warp(lanes, mask);
  }
  wait_for_turn();
#ifdef CUDASIM_THREAD
  if (kind == kSync) __tsan_acquire(sync);
#endif
  return fiber.result;
}

// ---- the scheduler ----

// Nobody can go on, and not all have ended.
void say_who_waits() {
  Launch& all = *launch;
  for (unsigned i = 0; i < all.threads; ++i) {
    const Fiber& fiber = all.fibers[i];
    if (fiber.state == State::done) continue;
    all.current = i;
    const bool barrier = fiber.state == State::at_barrier;
    for (unsigned k = 0; k < all.threads; ++k) {
      const Fiber& other = all.fibers[k];
      const bool wanted = barrier || (k / kWarp == i / kWarp && (fiber.mask >> k % kWarp & 1u) != 0);
      if (!wanted || (other.state == fiber.state && other.line == fiber.line)) continue;
      const char* const where = barrier ? "the barrier" : "what lanes do together";
      if (other.state == State::done)
        say("waits at %s of line %d, thread %u has ended", where, fiber.line, k);
      else say("waits at %s of line %d, thread %u at line %d", where, fiber.line, k, other.line);
      return;
    }
  }
}

void run_block() {
  Launch& all = *launch;
  all.waiting = all.ended = all.barriers = 0;
  for (unsigned i = 0; i < all.threads; ++i) all.fibers[i].state = State::fresh;
  for (unsigned& turn : all.warp_turn) turn = 0;
  while (all.ended < all.threads) {
    bool moved = false;
    arrange(all.order, all.threads, thread_order);
    for (unsigned k = 0; k < all.threads; ++k) {
      const unsigned i = all.order[k];
      Fiber& fiber = all.fibers[i];
      if (fiber.state != State::fresh && fiber.state != State::ready) continue;
      moved = true;
      // Warps drift apart, as on a device.
      if (thread_order == Order::random && random_number() % 4 == 0) continue;
      if (fiber.state == State::fresh) {
        fiber.stack = take_stack();
        fiber.seen.clear();
        fiber.fenced = false;
        enter(fiber.context, fiber.stack, kStack, body);
      }
      all.current = i;
      cudasim_thread.x = i;
      fiber.state = State::ready;
      change(all.scheduler, fiber.context, false);
      if (all.failed) return;
      if (fiber.state == State::done) give_stack_back(fiber);
    }
    if (!moved) return say_who_waits();
  }
}

}  // namespace
}  // namespace cudasim
