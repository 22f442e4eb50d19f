// The one place that touches a thread runtime.
#pragma once

namespace schuss {

struct Team {
  int index;  // of this thread
  int size;
  void barrier() const;
};

// Runs work once on each of up to `wanted` threads, the caller among them, and waits for all.
// The team may turn out smaller: within a parallel region, and always in a child after fork.
void run_team(int wanted, void (*work)(void* context, Team team), void* context);

template <class Work>
void run_team(int wanted, const Work& work) {
  const auto call = [](void* context, Team team) { (*static_cast<const Work*>(context))(team); };
  run_team(wanted, call, const_cast<Work*>(&work));
}

int thread_count();
void set_thread_count(int count);  // throws std::invalid_argument below 1
const char* thread_runtime();

}  // namespace schuss
