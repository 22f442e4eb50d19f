// Logistic regression with AdamW, a warmup before a cosine, and clipping at 1.0.
#include <schuss/schuss.hpp>

#include <cstdint>
#include <cstdio>
#include <vector>

namespace {

constexpr int kFeatures = 8, kSamples = 512, kBatch = 64, kSteps = 400;

struct Sample {
  float x[kFeatures];
  float label;
};

// Random numbers in [-1, 1), the same on every machine.
struct Random {
  uint64_t state = 1;
  float operator()() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return float(int32_t(state >> 32)) * 0x1p-31f;
  }
};

// A hidden plane divides the samples; one in sixteen has the wrong label.
std::vector<Sample> make_samples() {
  Random random;
  std::vector<Sample> samples(kSamples);
  for (int i = 0; i < kSamples; ++i) {
    float side = 0.25f;
    for (int k = 0; k < kFeatures; ++k) {
      samples[i].x[k] = random();
      side += float(k % 3 - 1) * samples[i].x[k];
    }
    samples[i].label = (side > 0) != (i % 16 == 0) ? 1.0f : 0.0f;
  }
  return samples;
}

// The library's own exp and log: the standard library's differ from machine to machine in their last bits.
double loss_and_gradient(const Sample* batch, const float* w, const float* b, float* grad_w, float* grad_b) {
  double loss = 0, sum_w[kFeatures] = {}, sum_b = 0;
  for (int i = 0; i < kBatch; ++i) {
    double score = *b;
    for (int k = 0; k < kFeatures; ++k) score += double(w[k]) * batch[i].x[k];
    const double chance = 1 / (1 + schuss::elementary::exp(-score));
    const double error = chance - batch[i].label;
    for (int k = 0; k < kFeatures; ++k) sum_w[k] += error * batch[i].x[k];
    sum_b += error;
    loss -= schuss::elementary::log(batch[i].label > 0 ? chance : 1 - chance);
  }
  for (int k = 0; k < kFeatures; ++k) grad_w[k] = float(sum_w[k] / kBatch);
  *grad_b = float(sum_b / kBatch);
  return loss / kBatch;
}

}  // namespace

int main() {
  const std::vector<Sample> samples = make_samples();
  std::vector<float> w(kFeatures), grad_w(kFeatures);
  float b = 0, grad_b = 0;

  using namespace schuss::schedules;
  schuss::EngineOptions options;
  options.clip = {schuss::ClipKind::global_norm, 1.0};
  schuss::Optimizer opt(
      "adamw", {{"lr", warmup(40, cosine(0.05, kSteps - 40), 0.001)}, {"weight_decay", 0.01}}, options);
  opt.add("w", w.data(), {kFeatures});
  opt.add("b", &b, {1});

  double mean = 0;
  for (int step = 0; step < kSteps; ++step) {
    const Sample* batch = &samples[std::size_t(step * kBatch % kSamples)];
    mean += loss_and_gradient(batch, w.data(), &b, grad_w.data(), &grad_b) / 50;
    const schuss::Outcome info = opt.step({grad_w.data(), &grad_b});
    if (info.step % 50 != 0) continue;
    std::printf("step %3d  loss %.6f  lr %.6f  norm %.6f\n", int(info.step), mean, info.lr, info.grad_norm);
    mean = 0;
  }
  std::printf("parameters");
  for (float each : w) std::printf(" %a", each);
  std::printf(" %a\n", b);
}
