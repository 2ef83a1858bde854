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

constexpr int LANES = 8;            // channels at once, one vector register
constexpr int64_t BLOCK = 256;      // positions in a block
constexpr int64_t NEAR = 16;        // positions at once: their values of all channels stay in cache

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t Mask __attribute__((vector_size(4 * LANES), aligned(4)));

// The first `width` values from there on; FULL: all LANES.
template <bool FULL> inline Vector load(const float *from, int width) {
    if constexpr (FULL) return *(const Vector *)from;
    Vector v = {};
    for (int l = 0; l < width; ++l) v[l] = from[l];
    return v;
}

template <bool FULL> inline void store(float *to, Vector v, int width) {
    if constexpr (FULL)
        *(Vector *)to = v;
    else
        for (int l = 0; l < width; ++l) to[l] = v[l];
}

inline Vector all(float value) { return Vector{} + value; }
inline Vector least(Vector a, Vector b) { return a < b ? a : b; }
inline Vector floor_of(Vector v) {     // of numbers that an int32 holds
    const Vector cut = __builtin_convertvector(__builtin_convertvector(v, Mask), Vector);
    return cut > v ? cut - 1 : cut;
}
inline Vector most(Vector a, Vector b) { return a > b ? a : b; }

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
    int32_t soft, detach, surrogate, limited, rounded;
};

enum { RECTANGULAR, TRIANGULAR, SIGMOID, ARCTAN };

// The surrogate derivative at x = v - threshold.
template <int SURROGATE> inline Vector derivative(Vector x, Vector window) {
    const Vector size = x < 0 ? -x : x;
    if constexpr (SURROGATE == RECTANGULAR) return size < window ? 1 / (2 * window) : all(0);
    if constexpr (SURROGATE == TRIANGULAR) {
        const Vector base = window * (4.0f / 3.0f);
        return most(1 - size / base, all(0)) / base;
    }
    if constexpr (SURROGATE == SIGMOID) {
        const Vector k = 3 / window;
        Vector s = -k * x;
        for (int l = 0; l < LANES; ++l) s[l] = 1 / (1 + std::exp(s[l]));
        return k * s * (1 - s);
    }
    const Vector k = 2 / window, z = 1.57079632679f * k * x;
    return (k / 2) / (1 + z * z);
}

// LANES channels of a layer: what all positions and time steps have in common.
// LIMITED: whether potentials saturate. SOFT: soft reset. A rounded neuron holds integers.
template <int INPUTS, bool FULL, bool SOFT, bool LIMITED> struct Lanes {
    const Shape &z;
    const Neuron &n;
    const Input *in;
    int width;
    Vector scale[INPUTS], shift, c2, c1, c0, gain, threshold, window, amount;

    Lanes(const Shape &z, const Input *in, const Neuron &n, int64_t c, int width)
        : z(z), n(n), in(in), width(width) {
        shift = all(0);
        for (int k = 0; k < INPUTS; ++k) {
            scale[k] = load<FULL>(in[k].scale + c, width);
            shift += load<FULL>(in[k].shift + c, width);
        }
        c2 = load<FULL>(n.c2 + c, width), c1 = load<FULL>(n.c1 + c, width);
        c0 = load<FULL>(n.c0 + c, width), gain = load<FULL>(n.gain + c, width);
        threshold = load<FULL>(n.threshold + c, width), window = load<FULL>(n.window + c, width);
        amount = load<FULL>(n.amount + c, width);
    }

    Vector current(int64_t at) const {
        Vector y = load<FULL>(in[0].x + at, width) * scale[0];
        if constexpr (INPUTS == 2) y += load<FULL>(in[1].x + at, width) * scale[1];
        return y + shift;
    }

    Vector potential(Vector y, Vector u) const {
        Vector own = (c2 * u + c1) * u;
        if (n.rounded) own = floor_of(own + 0.5f);
        return own + (gain * y + c0);
    }

    Vector kept(Vector v) const {
        if constexpr (LIMITED) return least(most(v, all(n.low)), all(n.high));
        return v;
    }

    Vector after(Vector v, Mask fired) const {
        if constexpr (SOFT) return kept(v) - (fired ? amount : all(0));
        return fired ? all(n.reset) : kept(v);
    }
};

template <class Lane, bool FULL>
void forward_lanes(const Lane &lanes, int64_t at, const float *begin, float *spikes, float *end,
                   Mask &count) {
    const Shape &z = lanes.z;
    const int64_t plane = z.positions * z.channels;
    Vector u = begin ? load<FULL>(begin + at, lanes.width) : all(lanes.n.initial);
    Vector y = lanes.current(at);
    for (int64_t t = 0; t < z.steps; ++t) {
        if (t && z.given > 1) y = lanes.current(t * plane + at);
        const Vector v = lanes.potential(y, u);
        const Mask fired = v >= lanes.threshold;
        u = lanes.after(v, fired);
        store<FULL>(spikes + t * plane + at, fired ? all(1) : all(0), lanes.width);
        count -= fired;
    }
    if (end) store<FULL>(end + at, u, lanes.width);
}

template <int INPUTS, bool FULL, bool SOFT, bool LIMITED>
int64_t forward_near(const Shape &z, const Input *in, const Neuron &n, int64_t first, int64_t last,
                     int64_t c, int width, const float *begin, float *spikes, float *end) {
    using Lane = Lanes<INPUTS, FULL, SOFT, LIMITED>;
    const Lane lanes(z, in, n, c, width);
    Mask count = {};
    for (int64_t p = first; p < last; ++p)
        forward_lanes<Lane, FULL>(lanes, p * z.channels + c, begin, spikes, end, count);
    int64_t total = 0;
    for (int l = 0; l < width; ++l) total += count[l];
    return total;
}

template <int INPUTS, bool SOFT, bool LIMITED>
int64_t forward_all(const Shape &z, const Input *in, const Neuron &n, const float *begin,
                    float *spikes, float *end, int threads) {
    const int64_t parts = (z.positions + NEAR - 1) / NEAR;
    int64_t count = 0;
#pragma omp parallel for num_threads(threads) reduction(+ : count) schedule(static)
    for (int64_t b = 0; b < parts; ++b) {
        const int64_t first = b * NEAR, last = std::min(z.positions, first + NEAR);
        for (int64_t c = 0; c < z.channels; c += LANES) {
            const int width = int(std::min<int64_t>(LANES, z.channels - c));
            const auto run = width == LANES ? forward_near<INPUTS, true, SOFT, LIMITED>
                                            : forward_near<INPUTS, false, SOFT, LIMITED>;
            count += run(z, in, n, first, last, c, width, begin, spikes, end);
        }
    }
    return count;
}

// Sums of gradients per channel: by shift, by scale of each input, by c2, c1, c0, gain.
constexpr int SUMS = 7;

struct Gradients {
    const float *by_spikes, *by_end;    // [T, P, C], [P, C] or null
    float *by_current, *by_begin;       // [given, P, C], [P, C] or null
    int32_t learnt;                     // whether sums by c2, c1, c0 and gain are wanted
};

struct Sums {
    Vector by_shift = {}, by_scale[2] = {}, by_c2 = {}, by_c1 = {}, by_c0 = {}, by_gain = {};
};

// One position. trace holds (state before, membrane potential, current) of each time step.
template <int INPUTS, int SURROGATE, bool FULL, bool SOFT, bool LIMITED>
void backward_lanes(const Lanes<INPUTS, FULL, SOFT, LIMITED> &lanes, const Gradients &g, int64_t at,
                    const float *begin, Vector (*trace)[3], Sums &sums) {
    const Shape &z = lanes.z;
    const Neuron &n = lanes.n;
    const int64_t plane = z.positions * z.channels;
    const int width = lanes.width;
    Vector u = begin ? load<FULL>(begin + at, width) : all(n.initial), y = lanes.current(at);
    for (int64_t t = 0; t < z.steps; ++t) {
        if (t && z.given > 1) y = lanes.current(t * plane + at);
        const Vector v = lanes.potential(y, u);
        trace[t][0] = u, trace[t][1] = v, trace[t][2] = y;
        u = lanes.after(v, v >= lanes.threshold);
    }
    Vector back = g.by_end ? load<FULL>(g.by_end + at, width) : all(0), constant = {};
    for (int64_t t = z.steps - 1; t >= 0; --t) {
        const Vector before = trace[t][0], v = trace[t][1], x = v - lanes.threshold;
        Vector inside = back;
        if constexpr (LIMITED) inside = v >= n.low && v <= n.high ? back : all(0);
        Vector by_spike = load<FULL>(g.by_spikes + t * plane + at, width);
        if (!n.detach) by_spike += (SOFT ? -lanes.amount : n.reset - lanes.kept(v)) * back;
        const Vector through = SOFT ? inside : (v >= lanes.threshold ? all(0) : inside);
        const Vector by_v = by_spike * derivative<SURROGATE>(x, lanes.window) + through;
        const Vector by_y = by_v * lanes.gain;
        back = by_v * (2 * lanes.c2 * before + lanes.c1);
        if (z.given > 1) {
            const int64_t here = t * plane + at;
            store<FULL>(g.by_current + here, by_y, width);
            sums.by_shift += by_y;
            for (int k = 0; k < INPUTS; ++k)
                sums.by_scale[k] += by_y * load<FULL>(lanes.in[k].x + here, width);
        } else {
            constant += by_y;
        }
        if (g.learnt) {
            sums.by_c2 += by_v * before * before;
            sums.by_c1 += by_v * before;
            sums.by_c0 += by_v;
            sums.by_gain += by_v * trace[t][2];
        }
    }
    if (z.given == 1) {
        store<FULL>(g.by_current + at, constant, width);
        sums.by_shift += constant;
        for (int k = 0; k < INPUTS; ++k)
            sums.by_scale[k] += constant * load<FULL>(lanes.in[k].x + at, width);
    }
    if (g.by_begin) store<FULL>(g.by_begin + at, back, width);
}

template <int INPUTS, int SURROGATE, bool FULL, bool SOFT, bool LIMITED>
void backward_near(const Shape &z, const Input *in, const Neuron &n, const Gradients &g,
                   int64_t first, int64_t last, int64_t c, int width, const float *begin,
                   Vector (*trace)[3], Sums &sums) {
    const Lanes<INPUTS, FULL, SOFT, LIMITED> lanes(z, in, n, c, width);
    for (int64_t p = first; p < last; ++p)
        backward_lanes<INPUTS, SURROGATE>(lanes, g, p * z.channels + c, begin, trace, sums);
}

template <int INPUTS, int SURROGATE, bool SOFT, bool LIMITED>
void backward_all(const Shape &z, const Input *in, const Neuron &n, const Gradients &g,
                  const float *begin, double *sums, int threads) {
    const int64_t blocks = (z.positions + BLOCK - 1) / BLOCK;
    const int64_t vectors = (z.channels + LANES - 1) / LANES;
    std::vector<Sums> parts(blocks * vectors);
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> space(3 * z.steps * LANES);
        auto trace = (Vector(*)[3])space.data();
#pragma omp for schedule(static)
        for (int64_t b = 0; b < blocks; ++b) {
            const int64_t end = std::min(z.positions, (b + 1) * BLOCK);
            for (int64_t first = b * BLOCK; first < end; first += NEAR)
                for (int64_t c = 0; c < z.channels; c += LANES) {
                    const int width = int(std::min<int64_t>(LANES, z.channels - c));
                    const auto run =
                        width == LANES ? backward_near<INPUTS, SURROGATE, true, SOFT, LIMITED>
                                       : backward_near<INPUTS, SURROGATE, false, SOFT, LIMITED>;
                    run(z, in, n, g, first, std::min(end, first + NEAR), c, width, begin, trace,
                        parts[b * vectors + c / LANES]);
                }
        }
    }
    std::fill(sums, sums + SUMS * z.channels, 0.0);
    for (int64_t b = 0; b < blocks; ++b)
        for (int64_t c = 0; c < z.channels; ++c) {
            const Vector *every = &parts[b * vectors + c / LANES].by_shift;
            for (int k = 0; k < SUMS; ++k) sums[k * z.channels + c] += every[k][c % LANES];
        }
}

template <int INPUTS, bool SOFT, bool LIMITED>
void backward_of(int surrogate, const Shape &z, const Input *in, const Neuron &n,
                 const Gradients &g, const float *begin, double *sums, int threads) {
    const auto run = surrogate == RECTANGULAR  ? backward_all<INPUTS, RECTANGULAR, SOFT, LIMITED>
                     : surrogate == TRIANGULAR ? backward_all<INPUTS, TRIANGULAR, SOFT, LIMITED>
                     : surrogate == SIGMOID    ? backward_all<INPUTS, SIGMOID, SOFT, LIMITED>
                                               : backward_all<INPUTS, ARCTAN, SOFT, LIMITED>;
    run(z, in, n, g, begin, sums, threads);
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

// Spikes [T, P, C]; begin and end, states [P, C], may be null.
// Returns the number of spikes.
int64_t qf_neuron_forward(const Shape *z, int inputs, const Input *in, const Neuron *n,
                          const float *begin, float *spikes, float *end, int threads) {
    using Run = int64_t (*)(const Shape &, const Input *, const Neuron &, const float *, float *,
                            float *, int);
    static const Run runs[2][2][2] = {
        {{forward_all<1, false, false>, forward_all<1, false, true>},
         {forward_all<1, true, false>, forward_all<1, true, true>}},
        {{forward_all<2, false, false>, forward_all<2, false, true>},
         {forward_all<2, true, false>, forward_all<2, true, true>}}};
    return runs[inputs - 1][n->soft][n->limited](*z, in, *n, begin, spikes, end, threads);
}

// Gradient by the currents y, and the sums [7, C] of Sums. It computes the forward pass again.
void qf_neuron_backward(const Shape *z, int inputs, const Input *in, const Neuron *n,
                        const Gradients *g, const float *begin, double *sums, int threads) {
    using Run = void (*)(int, const Shape &, const Input *, const Neuron &, const Gradients &,
                         const float *, double *, int);
    static const Run runs[2][2][2] = {
        {{backward_of<1, false, false>, backward_of<1, false, true>},
         {backward_of<1, true, false>, backward_of<1, true, true>}},
        {{backward_of<2, false, false>, backward_of<2, false, true>},
         {backward_of<2, true, false>, backward_of<2, true, true>}}};
    runs[inputs - 1][n->soft][n->limited](n->surrogate, *z, in, *n, *g, begin, sums, threads);
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
