// 3 x 3 convolutions with a quarter of the products, by Winograd's F(4 x 4, 3 x 3).
//
//   y = A' [ (G g G') . (B' d B) ] A                     6 x 6 inputs d to 4 x 4 outputs y
//   gradient by g = G' [ (A e A') . (B' d B) ] G         e: gradient by y
//
// The product of matrices in between, one for each of the 36 places, is PyTorch's. Here are the
// transforms: maps [B, H, W, C] to or from [36, tiles, C], a tile being 4 x 4 outputs. What reaches
// over the border is 0. C is a multiple of 8.
//
// Source: Lavin and Gray, arXiv:1509.09308, with the points 0, 1, -1, 2, -2.

#include <algorithm>
#include <cstdint>

namespace {

typedef float Vector __attribute__((vector_size(32), aligned(4)));
constexpr int WIDE = 8;

struct Maps {
    int64_t images, height, width, channels;
    int64_t rows() const { return (height + 3) / 4; }
    int64_t columns() const { return (width + 3) / 4; }
    int64_t tiles() const { return images * rows() * columns(); }
};

inline void to_input(Vector *d, int step) {             // B'
    const Vector d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step],
                 d5 = d[5 * step];
    const Vector a = d4 - 4 * d2, b = d3 - 4 * d1, c = d4 - d2, e = 2 * (d3 - d1);
    d[0] = 4 * d0 - 5 * d2 + d4;
    d[step] = a + b;
    d[2 * step] = a - b;
    d[3 * step] = c + e;
    d[4 * step] = c - e;
    d[5 * step] = 4 * d1 - 5 * d3 + d5;
}

inline void to_output(Vector *m, int step) {            // A'
    const Vector m0 = m[0], m5 = m[5 * step];
    const Vector a = m[step] + m[2 * step], b = m[step] - m[2 * step];
    const Vector c = m[3 * step] + m[4 * step], d = m[3 * step] - m[4 * step];
    m[0] = m0 + a + c;
    m[step] = b + 2 * d;
    m[2 * step] = a + 4 * c;
    m[3 * step] = b + 8 * d + m5;
}

inline void to_gradient(Vector *e, int step) {          // A
    const Vector e0 = e[0], e1 = e[step], e2 = e[2 * step], e3 = e[3 * step];
    const Vector a = e0 + e2, b = e1 + e3, c = e0 + 4 * e2, d = 2 * e1 + 8 * e3;
    e[step] = a + b;
    e[2 * step] = a - b;
    e[3 * step] = c + d;
    e[4 * step] = c - d;
    e[5 * step] = e3;
}

// Calls visit(first value of the tile's row and column, tile) for all tiles of a part of the maps.
template <class Visit> void each_tile(const Maps &m, int threads, Visit visit) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < m.images * m.rows(); ++row)
        for (int64_t column = 0; column < m.columns(); ++column)
            visit(row / m.rows(), row % m.rows() * 4, column * 4, row * m.columns() + column);
}

// Reads SIDE x SIDE values from (top, left) of an image, transforms, and writes 36.
template <int SIDE, void (*TRANSFORM)(Vector *, int)>
void spread(const Maps &m, int64_t before, const float *x, float *out, int threads) {
    const int64_t plane = m.tiles() * m.channels;
    each_tile(m, threads, [&](int64_t image, int64_t top, int64_t left, int64_t tile) {
        for (int64_t c = 0; c < m.channels; c += WIDE) {
            Vector v[36] = {};
            for (int64_t i = 0; i < SIDE; ++i) {
                const int64_t y = top + i - before;
                if (y < 0 || y >= m.height) continue;
                const float *line = x + (image * m.height + y) * m.width * m.channels + c;
                for (int64_t j = 0; j < SIDE; ++j) {
                    const int64_t z = left + j - before;
                    if (z >= 0 && z < m.width)
                        v[6 * i + j] = *(const Vector *)(line + z * m.channels);
                }
            }
            for (int i = 0; i < SIDE; ++i) TRANSFORM(v + 6 * i, 1);
            for (int j = 0; j < 6; ++j) TRANSFORM(v + j, 6);
            float *to = out + tile * m.channels + c;
            for (int k = 0; k < 36; ++k) *(Vector *)(to + k * plane) = v[k];
        }
    });
}

}  // namespace

extern "C" {

// Inputs of the convolution, padded by 1: 6 x 6 a tile.
void qf_winograd_inputs(const Maps *m, const float *x, float *out, int threads) {
    spread<6, to_input>(*m, 1, x, out, threads);
}

// Gradients by its outputs: 4 x 4 a tile.
void qf_winograd_gradients(const Maps *m, const float *x, float *out, int threads) {
    spread<4, to_gradient>(*m, 0, x, out, threads);
}

// Its outputs: [36, tiles, C] to maps.
void qf_winograd_outputs(const Maps *maps, const float *products, float *out, int threads) {
    const Maps &m = *maps;
    const int64_t plane = m.tiles() * m.channels;
    each_tile(m, threads, [&](int64_t image, int64_t top, int64_t left, int64_t tile) {
        for (int64_t c = 0; c < m.channels; c += WIDE) {
            Vector v[36];
            const float *from = products + tile * m.channels + c;
            for (int k = 0; k < 36; ++k) v[k] = *(const Vector *)(from + k * plane);
            for (int i = 0; i < 6; ++i) to_output(v + 6 * i, 1);
            for (int j = 0; j < 4; ++j) to_output(v + j, 6);
            for (int64_t i = 0; i < std::min<int64_t>(4, m.height - top); ++i)
                for (int64_t j = 0; j < std::min<int64_t>(4, m.width - left); ++j)
                    *(Vector *)(out + ((image * m.height + top + i) * m.width + left + j) *
                                          m.channels + c) = v[6 * i + j];
        }
    });
}
}
