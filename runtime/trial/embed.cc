// embed and embed_norm: rows of the table, of tokens from all lanes of a tile.
#include <algorithm>
#include <set>

#include "runtime/trial/certifier.h"
#include "runtime/trial/products.h"

namespace hetune {
namespace {

// A token for each row of a step, or 17: a launch of one row costs an upload of the table. The
// first and the last token, and between them, evenly, tokens of all lanes of a tile in turn. Tokens
// apart by whole tiles differ in an address alone.
std::vector<int64_t> tokens_to_try(int64_t table_rows, int64_t rows) {
    const int64_t count = std::max<int64_t>(rows, 17);
    std::set<int64_t> tokens = {0, table_rows - 1};
    for (int64_t i = 0; i < count - 2; ++i)
        tokens.insert(std::min(i * table_rows / count / 32 * 32 + i * 5 % 32, table_rows - 1));
    return {tokens.begin(), tokens.end()};
}

// Launches until all of `tokens` had their turn; `compare` gets a launch's row and its token.
template <class Compare>
void launch_for_tokens(Trial& t, const std::vector<int64_t>& tokens, Compare&& compare) {
    const auto rows = static_cast<size_t>(t.rows());
    for (size_t first = 0; first < tokens.size(); first += rows) {
        std::vector<int32_t> input;
        for (size_t i = 0; i < rows; ++i)
            input.push_back(static_cast<int32_t>(tokens[std::min(first + i, tokens.size() - 1)]));
        t.put("tokens", input);
        t.launch();
        for (size_t i = 0; i < rows; ++i) compare(static_cast<int64_t>(i), int64_t{input[i]});
    }
}

void certify_embed(Trial& t) {
    const int64_t cols = t.number("kCols");
    t.out_floats("h", cols);
    Comparison& comparison = t.compare("h", 1e-6);  // a product and a sum at most
    launch_for_tokens(t, tokens_to_try(t.number("kRows"), t.rows()),
                      [&](int64_t row, int64_t token) {
                          const auto h = t.get<float>("h");
                          const auto wanted = t.weight_row("w", token);
                          for (size_t i = 0; i < wanted.size(); ++i)
                              comparison.add(token, static_cast<double>(row_of(h, row, cols)[i]),
                                             static_cast<double>(wanted[i]));
                      });
}

void certify_embed_norm(Trial& t) {
    const int64_t cols = t.number("kCols");
    const auto norm = t.weight_vector("norm");
    Comparison& comparison = t.compare("h", 1e-6);
    Comparison& compare_squares = t.compare("squares", kSumTolerance);
    t.out_floats("h", cols);
    t.out_floats("squares", cols / 32);
    TileOutput next(t, "next", cols, t.flag("kQuantisedOutput"));
    launch_for_tokens(
        t, tokens_to_try(t.number("kRows"), t.rows()), [&](int64_t row, int64_t token) {
            const auto h = t.get<float>("h"), squares = t.get<float>("squares");
            next.read();
            const auto row_values = t.weight_row("w", token);
            std::vector<float> wanted(row_values.begin(), row_values.end());
            for (int64_t tile = 0; tile < cols / 32; ++tile) {
                double sum = 0;
                for (int64_t i = tile * 32; i < tile * 32 + 32; ++i) {
                    float& value = wanted[static_cast<size_t>(i)];
                    comparison.add(
                        token, static_cast<double>(row_of(h, row, cols)[static_cast<size_t>(i)]),
                        static_cast<double>(value));
                    sum += static_cast<double>(value) * static_cast<double>(value);
                    value *= norm[static_cast<size_t>(i)];
                }
                compare_squares.add(
                    token,
                    static_cast<double>(squares[static_cast<size_t>(row * cols / 32 + tile)]), sum);
                next.compare(row, tile, row_of(wanted, tile, 32));
            }
        });
}

}  // namespace

Certifiers certifiers(const ops::Embed&) {
    static const Certifier list[] = {{"embed", certify_embed, 2}};
    return list;
}
Certifiers certifiers(const ops::EmbedNorm&) {
    static const Certifier list[] = {{"embed_norm", certify_embed_norm, 2}};
    return list;
}

}  // namespace hetune
