// tdBN's affine part and all time steps of a quadratic or linear neuron in one pass.
//
//   y_t = sum over inputs k of scale_k x_k,t + shift_k                      current
//   v_t = (c2 u_t + c1) u_t + (gain y_t + c0)                               membrane potential
//   s_t = 1 where v_t >= threshold, else 0                                  spike
//   u_t+1 = (1 - s_t) clamp(v_t) + reset s_t      hard reset
//   u_t+1 = clamp(v_t) - amount s_t               soft reset
//
// Tensors are float32 [T, P, C], channels innermost; P counts images and positions. Coefficients are
// per channel, [C]. An input with one time step is a constant current: it is read once, and its
// gradient is the sum over all time steps.
//
// Work is cut into blocks of positions, and sums of blocks are added up in their order: the result
// does not depend on the number of threads.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

constexpr int LANES = 16;           // channels at once, as two or one vector registers
constexpr int64_t BLOCK = 256;      // positions in a block

struct Input {                      // a current before its affine part
    const float *x;                 // [steps or 1, P, C]
    const float *scale, *shift;     // [C]
};

struct Shape {
    int64_t steps, given, positions, channels;      // given: time steps of the inputs, T or 1
};

struct Neuron {
    const float *c2, *c1, *c0, *gain, *threshold, *window, *amount;     // [C]
    float reset, low, high, initial;
    int32_t soft, detach, surrogate;
};

enum { RECTANGULAR, TRIANGULAR, SIGMOID, ARCTAN };

template <int SURROGATE> inline float derivative(float x, float window) {
    if constexpr (SURROGATE == RECTANGULAR)
        return std::fabs(x) < window ? 1 / (2 * window) : 0.0f;
    if constexpr (SURROGATE == TRIANGULAR) {
        const float base = window * (4.0f / 3.0f);
        return std::max(1 - std::fabs(x) / base, 0.0f) / base;
    }
    if constexpr (SURROGATE == SIGMOID) {
        const float k = 3 / window, s = 1 / (1 + std::exp(-k * x));
        return k * s * (1 - s);
    }
    const float k = 2 / window, z = 1.57079632679f * k * x;
    return (k / 2) / (1 + z * z);
}

// The currents of LANES channels from c on, at one time step and position.
template <int INPUTS>
inline void currents(const Input *in, int64_t at, int64_t c, int width, float *y) {
    for (int l = 0; l < width; ++l)
        y[l] = in[0].x[at + l] * in[0].scale[c + l] + in[0].shift[c + l];
    if constexpr (INPUTS == 2)
        for (int l = 0; l < width; ++l)
            y[l] += in[1].x[at + l] * in[1].scale[c + l] + in[1].shift[c + l];
}

// One time step. u becomes the state after it; v the membrane potential before clamp and reset.
inline void advance(const Neuron &n, int64_t c, int width, const float *y, float *u, float *v,
                    float *s) {
    for (int l = 0; l < width; ++l) {
        v[l] = (n.c2[c + l] * u[l] + n.c1[c + l]) * u[l] + (n.gain[c + l] * y[l] + n.c0[c + l]);
        s[l] = v[l] >= n.threshold[c + l] ? 1.0f : 0.0f;
        const float kept = std::min(std::max(v[l], n.low), n.high);
        u[l] = n.soft ? kept - n.amount[c + l] * s[l] : (s[l] > 0 ? n.reset : kept);
    }
}

template <int INPUTS, int WIDTH>
void forward_lanes(const Shape &z, const Input *in, const Neuron &n, int64_t p, int64_t c, int rest,
                   const float *begin, float *spikes, float *end, float *potentials,
                   int64_t &count) {
    const int width = WIDTH ? WIDTH : rest;
    const int64_t plane = z.positions * z.channels, at = p * z.channels + c;
    float y[LANES], u[LANES], v[LANES], s[LANES], total[LANES] = {};
    for (int l = 0; l < width; ++l) u[l] = begin ? begin[at + l] : n.initial;
    currents<INPUTS>(in, at, c, width, y);
    for (int64_t t = 0; t < z.steps; ++t) {
        if (t && z.given > 1) currents<INPUTS>(in, t * plane + at, c, width, y);
        advance(n, c, width, y, u, v, s);
        for (int l = 0; l < width; ++l) {
            spikes[t * plane + at + l] = s[l];
            total[l] += s[l];
        }
        if (potentials)
            for (int l = 0; l < width; ++l) potentials[t * plane + at + l] = v[l];
    }
    if (end)
        for (int l = 0; l < width; ++l) end[at + l] = u[l];
    float sum = 0;
    for (int l = 0; l < width; ++l) sum += total[l];
    count += int64_t(sum);
}

template <int INPUTS>
int64_t forward_all(const Shape &z, const Input *in, const Neuron &n, const float *begin,
                    float *spikes, float *end, float *potentials, int threads) {
    const int64_t blocks = (z.positions + BLOCK - 1) / BLOCK;
    int64_t count = 0;
#pragma omp parallel for num_threads(threads) reduction(+ : count) schedule(static)
    for (int64_t b = 0; b < blocks; ++b) {
        const int64_t last = std::min(z.positions, (b + 1) * BLOCK);
        for (int64_t p = b * BLOCK; p < last; ++p) {
            int64_t c = 0;
            for (; c + LANES <= z.channels; c += LANES)
                forward_lanes<INPUTS, LANES>(z, in, n, p, c, LANES, begin, spikes, end, potentials,
                                             count);
            if (c < z.channels)
                forward_lanes<INPUTS, 0>(z, in, n, p, c, int(z.channels - c), begin, spikes, end,
                                         potentials, count);
        }
    }
    return count;
}

// Sums of gradients per channel: by shift, by scale of each input, by c2, c1, c0, gain.
enum { BY_SHIFT, BY_SCALE, BY_C2 = 3, BY_C1, BY_C0, BY_GAIN, SUMS };

struct Gradients {
    const float *by_spikes, *by_end;    // [T, P, C], [P, C] or null
    float *by_current, *by_begin;       // [given, P, C], [P, C] or null
    int32_t learnt;                     // whether sums by c2, c1, c0 and gain are wanted
};

template <int INPUTS, int SURROGATE, int WIDTH>
void backward_lanes(const Shape &z, const Input *in, const Neuron &n, const Gradients &g, int64_t p,
                    int64_t c, int rest, const float *begin, float *scratch, float *sums) {
    const int width = WIDTH ? WIDTH : rest;
    const int64_t plane = z.positions * z.channels, at = p * z.channels + c;
    float *us = scratch, *vs = us + z.steps * LANES, *ys = vs + z.steps * LANES;
    float u[LANES], s[LANES], back[LANES], by_y[LANES], constant[LANES] = {};
    for (int l = 0; l < width; ++l) u[l] = begin ? begin[at + l] : n.initial;
    for (int64_t t = 0; t < z.steps; ++t) {
        float *y = z.given > 1 ? ys + t * LANES : ys;
        if (!t || z.given > 1) currents<INPUTS>(in, t * plane + at, c, width, y);
        for (int l = 0; l < width; ++l) us[t * LANES + l] = u[l];
        advance(n, c, width, y, u, vs + t * LANES, s);
    }
    for (int l = 0; l < width; ++l) back[l] = g.by_end ? g.by_end[at + l] : 0.0f;
    for (int64_t t = z.steps - 1; t >= 0; --t) {
        const float *v = vs + t * LANES, *before = us + t * LANES;
        const float *by_s = g.by_spikes + t * plane + at;
        float by_v[LANES];
        for (int l = 0; l < width; ++l) {
            const float x = v[l] - n.threshold[c + l];
            const float kept = std::min(std::max(v[l], n.low), n.high);
            const float inside = v[l] >= n.low && v[l] <= n.high ? back[l] : 0.0f;
            const float jump = n.soft ? -n.amount[c + l] : n.reset - kept;
            const float by_spike = by_s[l] + (n.detach ? 0.0f : jump * back[l]);
            const float through = n.soft ? inside : (x >= 0 ? 0.0f : inside);
            by_v[l] = by_spike * derivative<SURROGATE>(x, n.window[c + l]) + through;
            back[l] = by_v[l] * (2 * n.c2[c + l] * before[l] + n.c1[c + l]);
            by_y[l] = by_v[l] * n.gain[c + l];
        }
        if (z.given > 1) {
            for (int l = 0; l < width; ++l) {
                const int64_t here = t * plane + at + l;
                g.by_current[here] = by_y[l];
                sums[BY_SHIFT * LANES + l] += by_y[l];
                sums[BY_SCALE * LANES + l] += by_y[l] * in[0].x[here];
                if constexpr (INPUTS == 2)
                    sums[(BY_SCALE + 1) * LANES + l] += by_y[l] * in[1].x[here];
            }
        } else {
            for (int l = 0; l < width; ++l) constant[l] += by_y[l];
        }
        if (g.learnt) {
            const float *y = z.given > 1 ? ys + t * LANES : ys;
            for (int l = 0; l < width; ++l) {
                sums[BY_C2 * LANES + l] += by_v[l] * before[l] * before[l];
                sums[BY_C1 * LANES + l] += by_v[l] * before[l];
                sums[BY_C0 * LANES + l] += by_v[l];
                sums[BY_GAIN * LANES + l] += by_v[l] * y[l];
            }
        }
    }
    if (z.given == 1)
        for (int l = 0; l < width; ++l) {
            g.by_current[at + l] = constant[l];
            sums[BY_SHIFT * LANES + l] += constant[l];
            sums[BY_SCALE * LANES + l] += constant[l] * in[0].x[at + l];
            if constexpr (INPUTS == 2)
                sums[(BY_SCALE + 1) * LANES + l] += constant[l] * in[1].x[at + l];
        }
    if (g.by_begin)
        for (int l = 0; l < width; ++l) g.by_begin[at + l] = back[l];
}

template <int INPUTS, int SURROGATE>
void backward_all(const Shape &z, const Input *in, const Neuron &n, const Gradients &g,
                  const float *begin, double *sums, int threads) {
    const int64_t blocks = (z.positions + BLOCK - 1) / BLOCK;
    std::vector<float> parts(blocks * SUMS * z.channels);
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> scratch(3 * z.steps * LANES);
#pragma omp for schedule(static)
        for (int64_t b = 0; b < blocks; ++b) {
            const int64_t last = std::min(z.positions, (b + 1) * BLOCK);
            for (int64_t c = 0; c < z.channels; c += LANES) {
                const int width = int(std::min<int64_t>(LANES, z.channels - c));
                float sum[SUMS * LANES] = {};
                for (int64_t p = b * BLOCK; p < last; ++p) {
                    if (width == LANES)
                        backward_lanes<INPUTS, SURROGATE, LANES>(z, in, n, g, p, c, width, begin,
                                                                 scratch.data(), sum);
                    else
                        backward_lanes<INPUTS, SURROGATE, 0>(z, in, n, g, p, c, width, begin,
                                                             scratch.data(), sum);
                }
                for (int k = 0; k < SUMS; ++k)
                    for (int l = 0; l < width; ++l)
                        parts[(b * SUMS + k) * z.channels + c + l] = sum[k * LANES + l];
            }
        }
    }
    std::fill(sums, sums + SUMS * z.channels, 0.0);
    for (int64_t b = 0; b < blocks; ++b)
        for (int64_t i = 0; i < SUMS * z.channels; ++i) sums[i] += parts[b * SUMS * z.channels + i];
}

}  // namespace

extern "C" {

// Mean and variance (of the population) of each channel of x [rows, C], by Chan's sums of blocks.
void qf_moments(int64_t rows, int64_t channels, const float *x, double *mean, double *variance,
                int threads) {
    const int64_t blocks = (rows + BLOCK - 1) / BLOCK;
    std::vector<float> means(blocks * channels), squares(blocks * channels);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t b = 0; b < blocks; ++b) {
        const int64_t first = b * BLOCK, last = std::min(rows, first + BLOCK);
        float *m = &means[b * channels], *q = &squares[b * channels];
        for (int64_t r = first; r < last; ++r)
            for (int64_t c = 0; c < channels; ++c) m[c] += x[r * channels + c];
        for (int64_t c = 0; c < channels; ++c) m[c] /= float(last - first);
        for (int64_t r = first; r < last; ++r)
            for (int64_t c = 0; c < channels; ++c) {
                const float d = x[r * channels + c] - m[c];
                q[c] += d * d;
            }
    }
    std::fill(mean, mean + channels, 0.0);
    std::fill(variance, variance + channels, 0.0);
    for (int64_t b = 0; b < blocks; ++b) {
        const double count = double(std::min(rows, (b + 1) * BLOCK) - b * BLOCK);
        const double before = double(b * BLOCK), after = before + count;
        for (int64_t c = 0; c < channels; ++c) {
            const double d = double(means[b * channels + c]) - mean[c];
            mean[c] += d * count / after;
            variance[c] += double(squares[b * channels + c]) + d * d * before * count / after;
        }
    }
    for (int64_t c = 0; c < channels; ++c) variance[c] /= double(rows);
}

// Spikes [T, P, C]; begin, end (states) and potentials (before clamp and reset) may be null.
// Returns the number of spikes.
int64_t qf_neuron_forward(const Shape *z, int inputs, const Input *in, const Neuron *n,
                          const float *begin, float *spikes, float *end, float *potentials,
                          int threads) {
    if (inputs == 2)
        return forward_all<2>(*z, in, *n, begin, spikes, end, potentials, threads);
    return forward_all<1>(*z, in, *n, begin, spikes, end, potentials, threads);
}

// Gradient by the currents y, and the sums [7, C] of Sums. It computes the forward pass again.
void qf_neuron_backward(const Shape *z, int inputs, const Input *in, const Neuron *n,
                        const Gradients *g, const float *begin, double *sums, int threads) {
    using Run = void (*)(const Shape &, const Input *, const Neuron &, const Gradients &,
                         const float *, double *, int);
    static const Run runs[2][4] = {
        {backward_all<1, RECTANGULAR>, backward_all<1, TRIANGULAR>, backward_all<1, SIGMOID>,
         backward_all<1, ARCTAN>},
        {backward_all<2, RECTANGULAR>, backward_all<2, TRIANGULAR>, backward_all<2, SIGMOID>,
         backward_all<2, ARCTAN>}};
    runs[inputs - 1][n->surrogate](*z, in, *n, *g, begin, sums, threads);
}

// out = a by_current + b x + c, per channel: what batch statistics make of the gradient.
void qf_affine_gradient(int64_t rows, int64_t channels, const float *by_current, const float *x,
                        const float *a, const float *b, const float *c, float *out, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < channels; ++i) {
            const int64_t at = r * channels + i;
            out[at] = a[i] * by_current[at] + b[i] * x[at] + c[i];
        }
}

// The largest of size x size spikes: x [B, H, W, C] to [B, H / size, W / size, C].
void qf_pool_forward(int64_t images, int64_t height, int64_t width, int64_t channels, int64_t size,
                     const float *x, float *out, int threads) {
    const int64_t rows = height / size, columns = width / size;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < images * rows; ++row)
        for (int64_t column = 0; column < columns; ++column) {
            float *to = out + (row * columns + column) * channels;
            const int64_t top = row / rows * height + row % rows * size;
            for (int64_t k = 0; k < size * size; ++k) {
                const float *from =
                    x + ((top + k / size) * width + column * size + k % size) * channels;
                if (!k)
                    std::copy(from, from + channels, to);
                else
                    for (int64_t c = 0; c < channels; ++c) to[c] = std::max(to[c], from[c]);
            }
        }
}

// Its gradient: all goes to the first of the largest, row by row. Rows and columns over get 0.
void qf_pool_backward(int64_t images, int64_t height, int64_t width, int64_t channels, int64_t size,
                      const float *x, const float *out, const float *by_out, float *by_x,
                      int threads) {
    const int64_t rows = height / size, columns = width / size;
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> left(channels);
#pragma omp for schedule(static)
        for (int64_t image = 0; image < images; ++image) {
            if (rows * size < height || columns * size < width)
                std::fill(by_x + image * height * width * channels,
                          by_x + (image + 1) * height * width * channels, 0.0f);
            for (int64_t row = 0; row < rows; ++row)
                for (int64_t column = 0; column < columns; ++column) {
                    const int64_t at = ((image * rows + row) * columns + column) * channels;
                    std::copy(by_out + at, by_out + at + channels, left.begin());
                    for (int64_t k = 0; k < size * size; ++k) {
                        const int64_t from = ((image * height + row * size + k / size) * width +
                                              column * size + k % size) * channels;
                        for (int64_t c = 0; c < channels; ++c) {
                            const bool here = x[from + c] == out[at + c];
                            by_x[from + c] = here ? left[c] : 0.0f;
                            left[c] = here ? 0.0f : left[c];
                        }
                    }
                }
        }
    }
}
}
