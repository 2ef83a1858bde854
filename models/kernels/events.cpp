// Convolutions that visit only inputs that are not 0: an input adds its weights to its outputs.
//
// Maps are float32 [B, H, W, C], channels innermost. The spikes of a map make a list once; every
// tile of output channels then sums the weights of the list in registers. At 15 % spikes that is a
// fraction of the work of a dense convolution.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

typedef float Vector __attribute__((vector_size(32), aligned(4)));
constexpr int VECTOR = 8;

struct Conv {                       // of maps [B, height, width, inputs] by kernel x kernel weights
    int64_t images, height, width, inputs, outputs, kernel, stride, padding;
    int64_t rows() const { return (height + 2 * padding - kernel) / stride + 1; }
    int64_t columns() const { return (width + 2 * padding - kernel) / stride + 1; }
};

struct Lists {                      // what is not 0 at each position of one map
    std::vector<int32_t> first, offset;
    std::vector<float> value;
    void read(const float *x, int64_t positions, int64_t channels, int64_t tile) {
        first.resize(positions + 1);
        offset.resize(positions * channels + VECTOR);
        value.resize(positions * channels + VECTOR);
        int32_t count = 0;
        for (int64_t p = 0; p < positions; ++p) {
            first[p] = count;
            for (int64_t c = 0; c < channels; ++c) {
                const float v = x[p * channels + c];
                offset[count] = int32_t(c * tile);
                value[count] = v;
                count += v != 0;
            }
        }
        first[positions] = count;
    }
};

// One tile of TILE output channels of one map. weight: [kernel^2, inputs, TILE].
template <int TILE>
void tile_forward(const Conv &k, const Lists &lists, const float *weight, float *out) {
    constexpr int N = TILE / VECTOR;
    const int64_t rows = k.rows(), columns = k.columns();
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t column = 0; column < columns; ++column) {
            Vector sum[N] = {};
            for (int64_t i = 0; i < k.kernel; ++i) {
                const int64_t y = row * k.stride + i - k.padding;
                if (y < 0 || y >= k.height) continue;
                for (int64_t j = 0; j < k.kernel; ++j) {
                    const int64_t x = column * k.stride + j - k.padding;
                    if (x < 0 || x >= k.width) continue;
                    const float *tap = weight + (i * k.kernel + j) * k.inputs * TILE;
                    const int64_t p = y * k.width + x;
                    for (int32_t e = lists.first[p]; e < lists.first[p + 1]; ++e) {
                        const float *w = tap + lists.offset[e];
                        const float v = lists.value[e];
                        for (int n = 0; n < N; ++n) sum[n] += v * *(const Vector *)(w + VECTOR * n);
                    }
                }
            }
            float *to = out + (row * columns + column) * k.outputs;
            for (int n = 0; n < N; ++n) *(Vector *)(to + VECTOR * n) = sum[n];
        }
}

// The weight gradient of one tile of a group of maps. by_out: [group, rows + 2 edge, columns + 2
// edge, TILE] with zeros around; entries of a channel's list are offsets into it.
template <int TILE>
void tile_weights(const Conv &k, int64_t pitch, const std::vector<int32_t> &entries,
                  const std::vector<float> &values, const int32_t *first, const float *by_out,
                  int64_t channel, float *by_weight) {
    constexpr int N = TILE / VECTOR;
    for (int64_t i = 0; i < k.kernel; ++i)
        for (int64_t j = 0; j < k.kernel; ++j) {
            Vector sum[N] = {};
            const float *base = by_out + ((k.kernel - 1 - i) * pitch + (k.kernel - 1 - j)) * TILE;
            for (int32_t e = first[0]; e < first[1]; ++e) {
                const float *g = base + int64_t(entries[e]) * TILE;
                const float v = values[e];
                for (int n = 0; n < N; ++n) sum[n] += v * *(const Vector *)(g + VECTOR * n);
            }
            float *to = by_weight + ((i * k.kernel + j) * k.inputs + channel) * TILE;
            for (int n = 0; n < N; ++n) *(Vector *)(to + VECTOR * n) += sum[n];
        }
}

}  // namespace

extern "C" {

// The share of values that are not 0 in every `every`-th of `count` rows of `size` values.
double qf_density(int64_t count, int64_t size, int64_t every, const float *x) {
    int64_t found = 0, seen = 0;
    for (int64_t r = 0; r < count; r += every, seen += size) {
        int64_t here = 0;
        for (int64_t i = 0; i < size; ++i) here += x[r * size + i] != 0;
        found += here;
    }
    return seen ? double(found) / double(seen) : 0.0;
}

// weight: [outputs / tile, kernel^2, inputs, tile]; tile 8, 16, 32 or 64.
void qf_events_forward(const Conv *conv, int64_t tile, const float *x, const float *weight,
                       float *out, int threads) {
    const Conv &k = *conv;
    const int64_t size = k.kernel * k.kernel * k.inputs * tile;
#pragma omp parallel num_threads(threads)
    {
        Lists lists;
#pragma omp for schedule(static)
        for (int64_t b = 0; b < k.images; ++b) {
            lists.read(x + b * k.height * k.width * k.inputs, k.height * k.width, k.inputs, tile);
            float *to = out + b * k.rows() * k.columns() * k.outputs;
            for (int64_t n = 0; n < k.outputs / tile; ++n) {
                const float *w = weight + n * size;
                if (tile == 64) tile_forward<64>(k, lists, w, to + n * tile);
                if (tile == 32) tile_forward<32>(k, lists, w, to + n * tile);
                if (tile == 16) tile_forward<16>(k, lists, w, to + n * tile);
                if (tile == 8) tile_forward<8>(k, lists, w, to + n * tile);
            }
        }
    }
}

// by_weight: [outputs / tile, kernel^2, inputs, tile], of stride 1 and padding kernel / 2.
// Channels share the work of a group of maps: the sums do not depend on the number of threads.
void qf_events_weights(const Conv *conv, int64_t tile, const float *x, const float *by_out,
                       float *by_weight, int threads) {
    const Conv &k = *conv;
    const int64_t edge = k.kernel / 2, pitch = k.width + 2 * edge, plane = (k.height + 2 * edge) * pitch;
    const int64_t group = std::max<int64_t>(1, (int64_t(1) << 16) / (plane * tile));
    const int64_t size = k.kernel * k.kernel * k.inputs * tile, tiles = k.outputs / tile;
    std::fill(by_weight, by_weight + tiles * size, 0.0f);
    std::vector<float> padded(group * plane * tile);
    std::vector<int32_t> first(k.inputs + 1), next(k.inputs), entries;
    std::vector<float> values;
    for (int64_t start = 0; start < k.images; start += group) {
        const int64_t count = std::min(group, k.images - start);
        const float *maps = x + start * k.height * k.width * k.inputs;
        const int64_t positions = count * k.height * k.width;
        std::vector<int32_t> found(k.inputs);
        for (int64_t p = 0; p < positions; ++p)
            for (int64_t c = 0; c < k.inputs; ++c) found[c] += maps[p * k.inputs + c] != 0;
        for (int64_t c = 0; c < k.inputs; ++c) first[c + 1] = first[c] + found[c] + 1;
        entries.resize(first[k.inputs] + 1);
        values.resize(first[k.inputs] + 1);
        std::copy(first.begin(), first.end() - 1, next.begin());
        for (int64_t p = 0; p < positions; ++p) {
            const int64_t map = p / (k.height * k.width), place = p % (k.height * k.width);
            const int32_t at = int32_t(map * plane + place / k.width * pitch + place % k.width);
            for (int64_t c = 0; c < k.inputs; ++c) {
                const float v = maps[p * k.inputs + c];
                entries[next[c]] = at;          // a place too many, which the next one overwrites
                values[next[c]] = v;
                next[c] += v != 0;
            }
        }
        for (int64_t n = 0; n < tiles; ++n) {
            for (int64_t b = 0; b < count; ++b)
                for (int64_t y = 0; y < k.height; ++y)
                    for (int64_t z = 0; z < k.width; ++z)
                        std::memcpy(&padded[(b * plane + (y + edge) * pitch + z + edge) * tile],
                                    by_out + (((start + b) * k.height + y) * k.width + z) * k.outputs
                                        + n * tile, tile * sizeof(float));
            float *to = by_weight + n * size;
#pragma omp parallel for num_threads(threads) schedule(static)
            for (int64_t c = 0; c < k.inputs; ++c) {
                const int32_t range[2] = {first[c], next[c]};
                if (tile == 64) tile_weights<64>(k, pitch, entries, values, range, padded.data(), c, to);
                if (tile == 32) tile_weights<32>(k, pitch, entries, values, range, padded.data(), c, to);
                if (tile == 16) tile_weights<16>(k, pitch, entries, values, range, padded.data(), c, to);
                if (tile == 8) tile_weights<8>(k, pitch, entries, values, range, padded.data(), c, to);
            }
        }
    }
}
}
