// gemv_residual and gemv_swiglu: whole tiles of rows, since a tile is a block of what comes next.
#include <optional>

#include "runtime/certify/certifier.h"
#include "runtime/certify/products.h"
#include "runtime/reference/primitives.h"

namespace hetune {
namespace {

void certify_residual(Trial& t) {
    const int64_t rows = t.number("kRows"), cols = t.number("kCols");
    const auto x = t.put_activations("x", t.rows(), cols, t.flag("kQuantisedInput"));
    const auto residual = t.put_floats("residual", t.rows() * rows);
    const bool normed = t.flag("kNormed");
    std::vector<float> norm;
    std::optional<TileOutput> next;
    t.out_floats("h", rows);
    if (normed) {
        norm = t.weight_vector("norm");
        next.emplace(t, "next", rows, t.flag("kQuantisedOutput"));
        t.out_floats("squares", rows / 32);
    }
    t.launch();

    if (normed) next->read();
    const auto h = t.get<float>("h");
    const auto squares = normed ? t.get<float>("squares") : std::span<const float>();
    Comparison& compare_h = t.compare("h", kSumTolerance);
    for (const int64_t tile : sample_of_tiles(rows / 32)) {
        std::vector<std::vector<float>> weights;
        for (int64_t i = 0; i < 32; ++i) weights.push_back(t.weight_row("w", tile * 32 + i));
        for (const int64_t token : sample_of_tokens(t.rows(), tile)) {
            std::vector<float> scaled(32);
            double sum = 0;
            for (int64_t i = 0; i < 32; ++i) {
                const int64_t row = tile * 32 + i;
                const auto at = static_cast<size_t>(token * rows + row),
                           lane = static_cast<size_t>(i);
                const double wanted =
                    dot(weights[lane], row_of(x, token, cols)) + static_cast<double>(residual[at]);
                compare_h.add(row, static_cast<double>(h[at]), wanted);
                sum += wanted * wanted;
                if (normed)
                    scaled[lane] = static_cast<float>(
                        wanted * static_cast<double>(norm[static_cast<size_t>(row)]));
            }
            if (!normed) continue;
            next->compare(token, tile, scaled);
            t.compare("squares", kSumTolerance)
                .add(tile,
                     static_cast<double>(squares[static_cast<size_t>(token * rows / 32 + tile)]),
                     sum);
        }
    }
}

void certify_swiglu(Trial& t) {
    const int64_t rows = t.number("kRows"), cols = t.number("kCols");
    const auto x = t.put_activations("x", t.rows(), cols, t.flag("kQuantisedInput"));
    std::vector<double> factors(static_cast<size_t>(t.rows()), 1.0);
    if (t.flag("kNormed")) factors = put_squares(t, t.rows(), cols, t.real("kEps"));
    TileOutput y(t, "y", rows, t.flag("kQuantisedOutput"));
    t.launch();
    y.read();
    for (const int64_t tile : sample_of_tiles(rows / 32)) {
        std::vector<std::vector<float>> gate, up;
        for (int64_t i = 0; i < 32; ++i) {
            gate.push_back(t.weight_row("gate", tile * 32 + i));
            up.push_back(t.weight_row("up", tile * 32 + i));
        }
        for (const int64_t token : sample_of_tokens(t.rows(), tile)) {
            const auto input = row_of(x, token, cols);
            const double factor = factors[static_cast<size_t>(token)];
            std::vector<float> wanted;
            for (size_t i = 0; i < 32; ++i)
                wanted.push_back(static_cast<float>(reference::silu(dot(gate[i], input) * factor) *
                                                    dot(up[i], input) * factor));
            y.compare(token, tile, wanted);
        }
    }
}

const RegisterCertifier kResidual{{"gemv_residual"}, certify_residual};
const RegisterCertifier kSwiglu{{"gemv_swiglu"}, certify_swiglu};

}  // namespace
}  // namespace hetune
