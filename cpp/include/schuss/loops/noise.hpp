// Normal numbers that depend on a key and a place alone: the same at every level, thread count and layout.
#pragma once
#include "../control/elementary.hpp"
#include "../formats/rounding.hpp"

namespace schuss {

SCHUSS_FN uint64_t keyed_bits(uint64_t key, uint64_t place) {
  return mixed(mixed(place * 0x9e3779b97f4a7c15u + key) ^ key);
}

// Coefficients of a polynomial from the highest down.
template <int N>
SCHUSS_FN double polynomial(const double (&c)[N], double x) {
  double sum = c[0];
  for (int i = 1; i < N; ++i) sum = sum * x + c[i];
  return sum;
}

// The inverse of the normal distribution, Wichura 1988, algorithm AS 241 (PPND16): about 1e-16, tails
// included.
SCHUSS_FN double normal_quantile(double u) {
  const double q = u - 0.5;
  if (magnitude(q) <= 0.425) {
    const double a[] = {2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
                        4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
                        1.3314166789178437745e2, 3.3871328727963666080e0};
    const double b[] = {
        5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
        5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1.0};
    const double r = 0.180625 - q * q;
    return q * polynomial(a, r) / polynomial(b, r);
  }
  const double depth = sqrt(-elementary::log(q < 0 ? u : 1 - u));
  double size;
  if (depth <= 5) {
    const double c[] = {7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
                        1.27045825245236838258e0,  3.64784832476320460504e0,  5.76949722146069140550e0,
                        4.63033784615654529590e0,  1.42343711074968357734e0};
    const double d[] = {1.05075007164441684324e-9, 5.47593808499534494600e-4,
                        1.51986665636164571966e-2, 1.48103976427480074590e-1,
                        6.89767334985100004550e-1, 1.67638483018380384940e0,
                        2.05319162663775882187e0,  1.0};
    size = polynomial(c, depth - 1.6) / polynomial(d, depth - 1.6);
  } else {
    const double e[] = {2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
                        2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580e0,
                        5.46378491116411436990e0,  6.65790464350110377720e0};
    const double f[] = {2.04426310338993978564e-15, 1.42151175831644588870e-7,
                        1.84631831751005468180e-5,  7.86869131145613259100e-4,
                        1.48753612908506148525e-2,  1.36929880922735805310e-1,
                        5.99832206555887937690e-1,  1.0};
    size = polynomial(e, depth - 5) / polynomial(f, depth - 5);
  }
  return q < 0 ? -size : size;
}

// Fifty-two bits and a half: in (0, 1), symmetric, and 1 - u is exact.
SCHUSS_FN double normal_at(uint64_t key, uint64_t place) {
  return normal_quantile((double(keyed_bits(key, place) >> 12) + 0.5) * 0x1p-52);
}

template <class T>
SCHUSS_FN void noise_chunk(T* x, int64_t count, uint64_t key, int64_t first, double deviation) {
  for (int64_t i = 0; i < count; ++i) x[i] += T(deviation * normal_at(key, uint64_t(first + i)));
}

}  // namespace schuss
