#include "around.hpp"

#include <algorithm>
#include <cmath>

#include "array_pass.hpp"
#include "dispatch.hpp"
#include "leaf_key.hpp"

namespace schuss {
namespace {

constexpr int64_t kPanel = 64;  // rows that are summed into columns together

// An array as rows and columns, in pieces of at most kRow elements of a row.
struct Matrix {
  int64_t rows = 1, columns = 1;
  bool by_row = true;  // a unit is a row, else a column

  Matrix(const std::vector<int64_t>& shape, OutputAxis axis, bool one_row_is_a_unit) {
    int64_t count = 1;
    for (int64_t extent : shape) count *= extent;
    columns = count;
    if (shape.size() < 2 || count == 0) return;
    by_row = axis == OutputAxis::first;
    rows = by_row ? shape.front() : count / shape.back();
    columns = count / rows;
    by_row = by_row || (one_row_is_a_unit && rows == 1);
  }
  int64_t units() const { return by_row ? rows : columns; }
  int64_t of_each() const { return by_row ? columns : rows; }
  int64_t pieces() const { return (columns + kRow - 1) / kRow; }
  int64_t panels() const { return by_row ? rows : (rows + kPanel - 1) / kPanel; }
  int64_t tasks() const { return panels() * pieces(); }
  int64_t parts() const { return by_row ? tasks() : panels() * columns; }
};

// A panel of rows, one where a unit is a row, and a piece of their columns.
struct Task {
  int64_t first_row, rows, first_column, columns, part;

  Task(const Matrix& m, int64_t index) {
    const int64_t panel = index / m.pieces();
    first_row = m.by_row ? panel : panel * kPanel;
    rows = m.by_row ? 1 : std::min(kPanel, m.rows - first_row);
    first_column = index % m.pieces() * kRow;
    columns = std::min(kRow, m.columns - first_column);
    part = m.by_row ? index : panel * m.columns + first_column;
  }
};

// All tasks of all arrays, on all threads; visit(array, task).
template <class Visit>
void each_task(const std::vector<Matrix>& matrices, Visit visit) {
  std::vector<int64_t> ends;
  int64_t tasks = 0, elements = 0;
  for (const Matrix& m : matrices) {
    ends.push_back(tasks += m.tasks());
    elements += m.rows * m.columns;
  }
  const auto threads = std::max<int64_t>(1, std::min<int64_t>(thread_count(), elements / kElementsPerThread));
  const auto work = [&](Team team) {
    const int64_t last = tasks * (team.index + 1) / team.size;
    int64_t task = tasks * team.index / team.size;
    auto array = std::size_t(std::upper_bound(ends.begin(), ends.end(), task) - ends.begin());
    for (; task < last; ++task) {
      while (task >= ends[array]) ++array;
      visit(array, Task(matrices[array], task - (ends[array] - matrices[array].tasks())));
    }
  };
  run_team(int(threads), work);
}

std::vector<Matrix> matrices_of(const std::vector<PlainArray>& arrays, OutputAxis axis,
                                bool one_row_is_a_unit) {
  std::vector<Matrix> matrices;
  for (const PlainArray& array : arrays) matrices.emplace_back(array.shape, axis, one_row_is_a_unit);
  return matrices;
}

// The sum, or that of the squares, of each unit of each array. Pieces and panels are added in their order.
std::vector<std::vector<double>> unit_sums(const std::vector<PlainArray>& arrays,
                                           const std::vector<Matrix>& matrices, bool squares) {
  const Pass pass(arrays);
  const Level& loops = level();
  std::vector<std::vector<double>> parts(arrays.size()), sums(arrays.size());
  for (std::size_t i = 0; i < arrays.size(); ++i) parts[i].resize(std::size_t(matrices[i].parts()));
  each_task(matrices, [&](std::size_t i, const Task& task) {
    const Run& run = pass.runs[i];
    const AroundKernels& around = loops.around[int(run.arithmetic)];
    double* const part = parts[i].data() + task.part;
    for (int64_t r = task.first_row; r < task.first_row + task.rows; ++r)
      edit_pass(loops, run, r * matrices[i].columns + task.first_column, task.columns, false,
                [&](char* row, int64_t count, int64_t) {
                  if (!matrices[i].by_row) around.add_row(part, row, count, squares);
                  else if (squares) *part = loops.square_sum[int(run.arithmetic)](row, count);
                  else *part = around.sum(row, count);
                });
  });
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const Matrix& m = matrices[i];
    sums[i].assign(std::size_t(m.units()), 0.0);
    if (m.rows * m.columns == 0) continue;
    const int64_t along = m.by_row ? m.pieces() : m.columns;
    for (std::size_t k = 0; k < parts[i].size(); ++k)
      sums[i][m.by_row ? k / std::size_t(along) : k % std::size_t(along)] += parts[i][k];
  }
  return sums;
}

// edit(kernels, row, count, the units' numbers: one for a row, else one for each of its columns)
template <class Edit>
void edit_units(const std::vector<PlainArray>& arrays, const std::vector<Matrix>& matrices,
                const std::vector<std::vector<double>>& numbers, Edit edit) {
  const Pass pass(arrays);
  const Level& loops = level();
  each_task(matrices, [&](std::size_t i, const Task& task) {
    const Run& run = pass.runs[i];
    for (int64_t r = task.first_row; r < task.first_row + task.rows; ++r)
      edit_pass(loops, run, r * matrices[i].columns + task.first_column, task.columns, true,
                [&](char* row, int64_t count, int64_t) {
                  edit(run, row, count, numbers[i].data() + (matrices[i].by_row ? r : task.first_column),
                       matrices[i].by_row);
                });
  });
}

}  // namespace

void centralize(const std::vector<PlainArray>& grads, OutputAxis axis) {
  std::vector<PlainArray> layers;
  for (const PlainArray& array : grads)
    if (array.shape.size() >= 2) layers.push_back(array);
  std::vector<Matrix> matrices = matrices_of(layers, axis, false);
  std::vector<std::vector<double>> means = unit_sums(layers, matrices, false);
  for (std::size_t i = 0; i < means.size(); ++i)
    for (double& sum : means[i]) sum /= double(matrices[i].of_each());
  const Level& loops = level();
  edit_units(layers, matrices, means,
             [&](const Run& run, char* row, int64_t count, const double* mean, bool by_row) {
               const AroundKernels& around = loops.around[int(run.arithmetic)];
               if (by_row) around.shift(row, count, *mean);
               else around.shift_columns(row, count, mean);
             });
}

void clip_units(const std::vector<PlainArray>& params, const std::vector<PlainArray>& grads, double limit,
                double eps, OutputAxis axis) {
  // Where each output has one weight, those together are a unit, as optax has it.
  const std::vector<Matrix> matrices = matrices_of(grads, axis, true);
  const std::vector<std::vector<double>> of_params = unit_sums(params, matrices, true);
  std::vector<std::vector<double>> factors = unit_sums(grads, matrices, true);
  for (std::size_t i = 0; i < grads.size(); ++i)
    for (std::size_t u = 0; u < factors[i].size(); ++u) {
      const double norm = std::sqrt(factors[i][u]);
      const double largest = limit * std::max(std::sqrt(of_params[i][u]), eps);
      factors[i][u] = norm - norm == 0 && norm > largest ? largest / norm : 1;
    }
  const Level& loops = level();
  edit_units(grads, matrices, factors,
             [&](const Run& run, char* row, int64_t count, const double* factor, bool by_row) {
               if (by_row) loops.scale[int(run.arithmetic)](row, count, *factor, kNoLimit);
               else loops.around[int(run.arithmetic)].scale_columns(row, count, factor);
             });
}

void add_noise(const std::vector<PlainArray>& grads, const std::vector<std::string>& names, uint64_t seed,
               int64_t step, double deviation) {
  std::vector<uint64_t> keys;
  for (const std::string& name : names) keys.push_back(rounding_key(leaf_key(seed, name), step));
  Pass pass(grads);
  const Level& loops = level();
  pass.each_chunk([&](std::size_t, const Chunk& chunk) {
    const Run& run = pass.runs[std::size_t(chunk.leaf)];
    edit_pass(loops, run, chunk.first, chunk.count, true, [&](char* row, int64_t count, int64_t first) {
      loops.around[int(run.arithmetic)].noise(row, count, keys[std::size_t(chunk.leaf)], first, deviation);
    });
  });
}

}  // namespace schuss
