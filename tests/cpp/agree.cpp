// Runs the optimizers that standard input asks for and writes the bits they end with, and those of schedules.
// A line of input: rule format clip limit accumulate [hyper=value …]
#include <schuss/schuss.hpp>

#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

namespace {

constexpr int kSteps = 5;
const std::vector<std::vector<int64_t>> kShapes = {{3, 5}, {4099}, {}};

// Number i of a stream, in [-1, 1): SplitMix64.
float number(uint64_t stream, uint64_t i) {
  uint64_t z = (stream << 32) + i + 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return float(int32_t((z ^ (z >> 31)) >> 32)) * 0x1p-31f;
}

int64_t count_of(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  return count;
}

template <class T>
std::vector<T> numbers(uint64_t stream, int64_t count) {
  using Arithmetic = typename schuss::Arithmetic<T>::type;
  std::vector<T> values;
  for (int64_t i = 0; i < count; ++i)
    values.push_back(schuss::Store<T>::nearest(Arithmetic(number(stream, uint64_t(i)))));
  return values;
}

template <class T>
void write(std::FILE* file, const T* data, int64_t count) {
  if (data) std::fwrite(data, sizeof(T), std::size_t(count), file);
}

template <class T>
void run(schuss::Optimizer& opt, std::FILE* file) {
  using Slot = typename schuss::Arithmetic<T>::type;
  std::vector<std::vector<T>> leaves, grads(kShapes.size());
  for (std::size_t k = 0; k < kShapes.size(); ++k) leaves.push_back(numbers<T>(k, count_of(kShapes[k])));
  for (std::size_t k = 0; k < kShapes.size(); ++k)
    opt.add("leaf" + std::to_string(k), leaves[k].data(), kShapes[k]);
  for (int step = 0; step < kSteps; ++step) {
    std::vector<schuss::GradientLike> pointers;
    for (std::size_t k = 0; k < kShapes.size(); ++k) {
      grads[k] = numbers<T>(uint64_t(100 + 10 * step) + k, count_of(kShapes[k]));
      pointers.emplace_back(step == 2 && k == 0 ? nullptr : grads[k].data());
    }
    opt.step(pointers);
  }
  opt.flush();
  for (std::size_t k = 0; k < kShapes.size(); ++k) {
    write(file, leaves[k].data(), count_of(kShapes[k]));
    for (const schuss::SlotInfo& slot : opt.engine().rule().slots)
      write(file, opt.slot<Slot>("leaf" + std::to_string(k), slot.name), count_of(kShapes[k]));
  }
}

void run_case(const std::string& line, std::FILE* file) {
  std::istringstream words(line);
  std::string rule, format, clip, setting;
  schuss::EngineOptions options;
  words >> rule >> format >> clip >> options.clip.limit >> options.accumulate;
  options.clip.kind = clip == "global"  ? schuss::ClipKind::global_norm
                      : clip == "leaf"  ? schuss::ClipKind::leaf_norm
                      : clip == "value" ? schuss::ClipKind::value
                                        : schuss::ClipKind::none;
  schuss::Optimizer opt(rule, {{"lr", schuss::schedules::warmup(2, schuss::schedules::cosine(0.1, 7), 0.01)}},
                        options);
  while (words >> setting) {
    const std::size_t cut = setting.find('=');
    opt.set(setting.substr(0, cut), std::stod(setting.substr(cut + 1)));
  }
  if (format == "float64") run<double>(opt, file);
  if (format == "float32") run<float>(opt, file);
  if (format == "bfloat16") run<schuss::bf16>(opt, file);
}

void write_schedules(std::FILE* file) {
  using namespace schuss::schedules;
  const schuss::Schedule all[] = {
      constant(0.3),
      step(0.1, 0.3, 7),
      step(0.1, 0.3, {5, 11}),
      exponential(0.1, 0.97, 3),
      exponential(0.1, 0.97, 3, true),
      polynomial(0.1, 0.001, 31, 1.7),
      cosine(0.3, 37, 1e-4),
      inverse_sqrt(0.1, 5),
      cyclic(0.01, 0.1, 5, 8, "exp_range", 0.99),
      cyclic(0.01, 0.1, 5, {}, "triangular2"),
      warmup(9, cosine(0.3, 31), 0.01),
      warmup(9, exponential(0.1, 0.97), {}, "logarithmic"),
      warmup(9, exponential(0.1, 0.97), {}, "linear", 1, false),
      join({0.1, exponential(1, 0.9)}, {6}),
      one_cycle(0.1, 40),
      one_cycle(0.1, 40, 0.25, "linear", 20, 100, true),
      one_cycle_momentum(40),
      warmup_stable_decay(0.1, 40, 5, 12, 0.001, 0, "cosine"),
      warmup_stable_decay(0.1, 40, 5, 12, 0.001, 0, "sqrt"),
      per_epoch(exponential(0.1, 0.9), 6),
      function([](int64_t t) { return 1.0 / double(1 + t); }),
  };
  for (const schuss::Schedule& schedule : all)
    for (int64_t t = 0; t < 50; ++t) {
      const double value = schedule(t);
      write(file, &value, 1);
    }
}

// What the interface refuses must name what is wrong.
template <class Call>
void refuse(const Call& call) {
  try {
    call();
    std::cout << "not refused\n";
  } catch (const std::invalid_argument& error) {
    std::cout << error.what() << "\n";
  } catch (const std::domain_error& error) {
    std::cout << "domain: " << error.what() << "\n";
  }
}

void show_refusals() {
  float w[2] = {1, 2}, nan[2] = {float(schuss::elementary::not_a_number()), 0};
  refuse([] { schuss::Optimizer("nonesuch"); });
  refuse([] { schuss::Optimizer("adam", {{"beta3", 0.9}}); });
  refuse([] { schuss::Optimizer("adam", {{"beta1", 1.0}}); });
  schuss::EngineOptions options;
  options.grad_norm = true;
  options.nonfinite = schuss::Nonfinite::raise;
  schuss::Optimizer opt("momentum", {{"lr", 0.5}, {"beta", 0.5}}, options);
  opt.add("w", w, {2});
  refuse([&] { opt.add("w", w, {2}); });
  refuse([&] { opt.add("u", w, {2, -1}); });
  refuse([&] { opt.step({}); });
  refuse([&] { opt.slot<double>("w", "v"); });
  refuse([&] { opt.slot<float>("w", "m"); });
  refuse([&] { opt.freeze("b"); });
  refuse([&] { opt.step({nan}); });
  const float g[2] = {1, 1};
  opt.step({g});
  std::cout << w[0] << " " << w[1] << " " << opt.clock() << " " << opt["beta"].value << " "
            << opt.slot<float>("w", "v")[0] << "\n";
  opt.freeze("w");
  opt.step({g});
  std::cout << w[0] << " " << opt.clock() << "\n";
  schuss::Optimizer nesterov("nesterov", {{"lr", 0.5}, {"beta", 0.5}});
  nesterov.add("w", w, {2});
  nesterov.step({g});
  {
    const auto there = nesterov.lookahead();
    std::cout << w[0] << "\n";
  }
  nesterov.step({g});
  std::cout << w[0] << " " << nesterov.slot<float>("w", "v")[0] << " " << nesterov.flush().step << "\n";
}

}  // namespace

int main(int, char** arguments) {
  std::FILE* file = std::fopen(arguments[1], "wb");
  for (std::string line; std::getline(std::cin, line);) run_case(line, file);
  write_schedules(file);
  std::fclose(file);
  show_refusals();
}
