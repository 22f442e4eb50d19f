// What a launch on a device reads and writes: leaves, chunks, prepared numbers, and the state that the device
// itself moves. Laid out alike by every compiler; Python fills it by the same layout
// (_engine/cuda/layout.py).
#pragma once
#include "../config.hpp"
#include "../control/exact_sum.hpp"
#include "../control/loss_scale.hpp"

namespace schuss {

constexpr int kBlock = 256;      // threads
constexpr int kDeviceSlots = 4;  // of a rule
constexpr int kDimensions = 8;   // of a strided array, after those that lie densely are merged
constexpr int kNumbersBytes = 128;

// Formats by number: 0 float64, 1 float32, 2 bfloat16; -1 where there is no array.
struct Chunk {
  int32_t leaf, count;
  int64_t first;
};

struct View {  // of an array that does not lie in C order
  int64_t shape[kDimensions];
  int64_t strides[kDimensions];  // bytes
  double inverse[kDimensions];   // 1 / shape
  int64_t dimensions;
};

struct SourceRow {  // a gradient as it was given
  const void* data;
  int32_t format;
  int32_t view;  // -1: C order
};

// One step's numbers for the leaves of one group, clock, arithmetic and mask.
struct Entry {
  double lr;
  double unused;
  unsigned char numbers[kNumbersBytes];
};

// Where the entries of a run of steps lie. The host makes a new run ahead of time and never changes an old
// one.
struct Row {
  const Entry* entries;
  int64_t first;  // the step of the first entry
};

struct Rows {
  int64_t valid_until;  // every row has entries for the steps below
  int64_t unused;
  Row rows[1];  // as many as there are
};

struct LeafRow {
  void* p;
  void* slots[kDeviceSlots];
  void* accumulator;  // in the arithmetic type; null where gradients are used as they come
  int64_t behind;     // the steps sat out that its numbers are for
  int32_t row;        // of its numbers
  int32_t variant;    // which of the kernel's; -1: the leaf sits this step out
  int32_t source, sources;
  int32_t p_view;       // -1: C order
  int32_t first_chunk;  // of this leaf, and how many
  int32_t chunks;
  int32_t add;  // whether the accumulator holds something: gradients are added to it
  int32_t p_format, arithmetic;
};

// What a step was, for whoever asks; the call comes last, when all else is there.
struct Record {
  int64_t call;
  int64_t steps;
  double lr, norm, clip_coef;
  int32_t skipped, has_norm;
};

struct Mailbox {  // in the host's memory: how far the device has come
  int64_t call, steps, starved;
};

struct State {
  int64_t steps;  // real ones done
  int64_t call;
  double norm, g_scale;
  uint64_t smallest_coef;  // the bits of a double; those of positive doubles order as integers
  uint32_t not_finite;     // a chunk's sum was not
  uint32_t skipped, finite, arrived;
  int64_t starved;  // steps not taken since they had no numbers
  int64_t moved;    // times that clocks came apart: leaves sat out, or had theirs set
  float loss_scale;
  uint32_t unused;
  LossScale scaler;
  int64_t digits[ExactSum::kDigits];
};

enum LaunchFlags : uint32_t {
  kTakesNorm = 1,
  kHasScaler = 2,
  kAdds = 4,         // every accumulator taken into holds something
  kAddsByLeaf = 8,   // each leaf's row says
  kSomeSitOut = 16,  // there are leaves whose clocks fall behind in this step
  kSkipsNonfinite = 32,
  kByLeaf = 64,     // clip each leaf's norm
  kByGlobal = 128,  // clip the norm of all
  kInGraph = 256,   // captured: clocks may have moved since
};

struct Launch {
  const Chunk* chunks;
  const LeafRow* leaves;
  const SourceRow* sources;
  const View* views;
  const Rows* rows;
  int64_t* behind;  // of each leaf: real steps it sat out
  State* state;
  double* chunk_sums;   // null where no leaf's own norm is asked for
  double* leaf_scales;  // likewise
  Record* record;
  Mailbox* mailbox;
  char* backup;              // of the parameters at the look-ahead point
  const int64_t* backup_at;  // of each leaf, bytes
  double limit;              // of a norm
  double bound;              // of each element: infinite unless values are clipped
  double mean;               // takes the sum of micro-gradients to their mean
  int64_t call;
  int64_t moved;  // of a captured step: the state's, when its numbers were right; -1 where nobody knows
  int32_t chunk_count, leaf_count;
  int32_t pending;  // micro-gradients of this step
  int32_t lr_row;   // of the first group; -1: the rule has no learning rate
  uint32_t flags;
  int32_t unused;
};

}  // namespace schuss
