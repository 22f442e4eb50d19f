// Kernels with one fault each, and the same without it: what the simulator and the sanitizers have to see.
// planted FAULT|clean: exit 0 unless the simulator itself ended the launch.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "device.hpp"

extern "C" {
const char* cudasim_message();
void cudasim_order(const char* threads, const char* blocks, uint64_t seed);
}

namespace {

enum Fault {
  kClean,
  kNoBarrier,    // between writing shared memory and reading what others wrote
  kSameElement,  // two blocks write one element
  kNoFence,      // the last block reads what the others wrote, which nothing made visible
  kNoWarpSync,   // lanes read what other lanes wrote, in step by luck
  kPastTheEnd,   // of an array in device memory
  kPastShared,   // of an array in shared memory
  kPastLocal,    // of an array of the thread
  kAfterFree,
};
constexpr const char* kNames[] = {"clean",        "no-barrier",  "same-element", "no-fence",  "no-warp-sync",
                                  "past-the-end", "past-shared", "past-local",   "after-free"};

struct Launch {
  Fault fault;
  double* partial;  // of each block
  double* total;
  unsigned* arrived;
  const double* in;
  int count;
};

void schuss_kernel(const Launch launch) {
  __shared__ double x[256];
  __shared__ double pairs[256];
  __shared__ bool last;
  const int t = int(threadIdx.x);
  double sum = 0;
  const int count = launch.count + (launch.fault == kPastTheEnd);
  for (int i = int(blockIdx.x) * 256 + t; i < count; i += int(gridDim.x) * 256) sum += launch.in[i];
  double local[4] = {sum, 0, 0, 0};
  volatile int at = launch.fault == kPastLocal && t == 7 ? 4 : 0;
  sum = local[at];
  // Each lane adds its neighbour's, by way of memory.
  pairs[t + (launch.fault == kPastShared && t == 255)] = sum;
  if (launch.fault != kNoWarpSync) __syncwarp();
  x[t] = t % 2 == 0 ? sum + pairs[t + 1] : 0;
  if (launch.fault != kNoBarrier) __syncthreads();
  for (int half = 128; half > 0; half /= 2) {
    if (t < half) x[t] += x[t + half];
    __syncthreads();
  }
  if (t == 0) {
    launch.partial[launch.fault == kSameElement ? 0 : blockIdx.x] = x[0];
    if (launch.fault != kNoFence) __threadfence();
    last = atomicAdd(launch.arrived, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last || t != 0) return;
  if (launch.fault != kNoFence) __threadfence();
  for (unsigned b = 0; b < gridDim.x; ++b) *launch.total += launch.partial[b];
}

void entry(const void* launch) { schuss_kernel(*static_cast<const Launch*>(launch)); }

}  // namespace

int main(int count, char** words) {
  if (count < 2) return 2;
  int fault = -1;
  for (int f = 0; f <= kAfterFree; ++f)
    if (strcmp(words[1], kNames[f]) == 0) fault = f;
  if (fault < 0) return 2;
  if (count > 2) cudasim_order(words[2], words[2], 5);

  constexpr unsigned kBlocks = 3;
  constexpr int kCount = 3000;
  auto* const in = static_cast<double*>(malloc(kCount * sizeof(double)));
  for (int i = 0; i < kCount; ++i) in[i] = i;
  std::vector<double> partial(kBlocks);
  double total = 0;
  unsigned arrived = 0;
  if (fault == kAfterFree) free(in);
  const Launch launch = {Fault(fault), partial.data(), &total, &arrived, in, kCount};
  if (cudasim_launch(entry, nullptr, &launch, kBlocks, 256) != 0) {
    printf("%s\n", cudasim_message());
    return 3;
  }
  printf("%.0f\n", total);
  if (fault != kAfterFree) free(in);
  return 0;
}
