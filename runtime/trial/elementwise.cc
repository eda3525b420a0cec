// Norms, element by element kernels, and copies.
#include <functional>

#include "runtime/load/step_state.h"
#include "runtime/oracle/primitives.h"
#include "runtime/trial/certifier.h"
#include "runtime/trial/products.h"

namespace hetune {
namespace {

// y against wanted(row, column), all of it.
void compare_columns(Trial& t, const std::string& output, int64_t cols, double tolerance,
                     const std::function<double(int64_t row, int64_t col)>& wanted) {
    const auto y = t.get<float>(output);
    Comparison& comparison = t.compare(output, tolerance);
    std::vector<float> values(static_cast<size_t>(cols));
    for (int64_t row = 0; row < t.rows(); ++row) {
        for (int64_t col = 0; col < cols; ++col)
            values[static_cast<size_t>(col)] = static_cast<float>(wanted(row, col));
        comparison.add_all(0, row_of(y, row, cols), values);
    }
}

void certify_rmsnorm(Trial& t) {
    const int64_t cols = t.number("kCols");
    const auto x = t.put_floats("x", t.rows() * cols);
    const auto w = t.weight_vector("w");
    t.out_floats("y", cols);
    t.launch();
    std::vector<float> wanted(x.size());
    for (int64_t r = 0; r < t.rows(); ++r)
        reference::rmsnorm(
            row_of(x, r, cols), w, t.real("kEps"),
            std::span(wanted).subspan(static_cast<size_t>(r * cols), static_cast<size_t>(cols)));
    compare_columns(t, "y", cols, kFewOperations, [&](int64_t row, int64_t col) {
        return static_cast<double>(row_of(wanted, row, cols)[static_cast<size_t>(col)]);
    });
}

void certify_gated_rmsnorm(Trial& t) {
    const int64_t size = t.number("kHeadSize"), width = t.number("kHeads") * size;
    const auto x = t.put_floats("x", t.rows() * width), z = t.put_floats("z", t.rows() * width);
    const auto w = t.weight_vector("w");
    t.out_floats("y", width);
    t.launch();
    std::vector<float> wanted(x.size());
    for (int64_t h = 0; h < t.rows() * width / size; ++h)
        reference::rmsnorm(
            row_of(x, h, size), w, t.real("kEps"),
            std::span(wanted).subspan(static_cast<size_t>(h * size), static_cast<size_t>(size)));
    compare_columns(t, "y", width, kFewOperations, [&](int64_t row, int64_t col) {
        const auto at = static_cast<size_t>(row * width + col);
        return static_cast<double>(wanted[at]) * reference::silu(static_cast<double>(z[at]));
    });
}

void certify_binary(Trial& t) {
    const int64_t cols = t.number("kCols");
    const auto a = t.put_floats("a", t.rows() * cols), b = t.put_floats("b", t.rows() * cols);
    t.out_floats("y", cols);
    t.launch();
    static const std::map<std::string, double (*)(double, double), std::less<>> kOps = {
        {"Add", [](double x, double y) { return x + y; }},
        {"SiluMul", [](double x, double y) { return reference::silu(x) * y; }},
        {"SigmoidMul", [](double x, double y) { return x * reference::sigmoid(y); }}};
    const auto op = kOps.find(t.text("Op"));
    if (op == kOps.end()) throw TrialFailure("the certifier knows no functor " + t.text("Op"));
    compare_columns(t, "y", cols, kFewOperations, [&](int64_t row, int64_t col) {
        const auto at = static_cast<size_t>(row * cols + col);
        return op->second(static_cast<double>(a[at]), static_cast<double>(b[at]));
    });
}

void certify_scale(Trial& t) {
    const int64_t cols = t.number("kCols");
    const auto x = t.put_floats("x", t.rows() * cols);
    const auto s = t.weight_vector("s");
    const auto bias = t.flag("kBias") ? t.weight_vector("bias") : std::span<const float>();
    t.out_floats("y", cols);
    t.launch();
    compare_columns(t, "y", cols, kFewOperations, [&](int64_t row, int64_t col) {
        const auto at = static_cast<size_t>(col);
        return static_cast<double>(row_of(x, row, cols)[at]) * static_cast<double>(s[0]) +
               (bias.empty() ? 0.0 : static_cast<double>(bias[at]));
    });
}

void certify_scale_by_sigmoid(Trial& t) {
    const int64_t cols = t.number("kCols");
    const auto x = t.put_floats("x", t.rows() * cols), s = t.put_floats("s", t.rows());
    t.out_floats("y", cols);
    t.launch();
    compare_columns(t, "y", cols, kFewOperations, [&](int64_t row, int64_t col) {
        return static_cast<double>(row_of(x, row, cols)[static_cast<size_t>(col)]) *
               reference::sigmoid(static_cast<double>(s[static_cast<size_t>(row)]));
    });
}

void certify_quantise(Trial& t) {
    const int64_t cols = t.number("kCols");
    const auto x = t.put_floats("x", t.rows() * cols);
    TileOutput y(t, "y", cols, true);
    t.launch();
    y.read();
    for (int64_t row = 0; row < t.rows(); ++row) y.compare_row(row, row_of(x, row, cols));
}

void certify_token_tiles(Trial& t) {
    const int64_t cols = t.number("kCols");
    std::vector<float> values = seeded_floats(static_cast<size_t>(t.rows() * cols), t.random());
    const auto blocks = quantise(values);
    t.put("x", blocks);
    const auto words = [](int64_t rows, int64_t width) { return (rows + 7) / 8 * width * 96; };
    t.out_words("y", words(t.rows(), cols / 32), words(t.full_rows(), cols / 32));
    t.launch();
    const std::vector<HostXTile> wanted = token_tiles(blocks, cols);
    const std::span expected(reinterpret_cast<const int32_t*>(wanted.data()), wanted.size() * 96);
    const auto y = t.get<int32_t>("y");
    for (size_t at = 0; at < expected.size(); ++at)
        t.same("y", static_cast<int64_t>(at), y[at], expected[at]);
}

void certify_split_heads(Trial& t) {
    const int64_t size = t.number("kHeadSize"), width = t.number("kHeads") * size;
    const auto x = t.put_floats("x", t.rows() * width * 2);
    t.out_floats("a", width);
    t.out_floats("b", width);
    t.launch();
    for (const int half : {0, 1})
        compare_columns(t, half == 0 ? "a" : "b", width, kExact, [&](int64_t row, int64_t col) {
            const int64_t head = row * width / size + col / size;
            return static_cast<double>(
                x[static_cast<size_t>((2 * head + half) * size + col % size)]);
        });
}

void certify_take_row(Trial& t) {
    const int64_t cols = t.number("kCols");
    const auto x = t.put_floats("x", t.rows() * cols);
    t.set_position(7);
    const int64_t wanted_row = t.rows() / 2;
    t.want_row(wanted_row);
    t.out_all_floats("y", cols);
    const auto words = static_cast<int64_t>(step_state(std::array<StepRow, 1>{}, {}).size());
    t.out_words("last", words, words);
    t.launch();
    const auto y = t.get<float>("y");
    Comparison& comparison = t.compare("y", kExact);
    comparison.add_all(0, y, row_of(x, wanted_row, cols));
    const auto last = t.get<int32_t>("last");
    const StepRow row{static_cast<int32_t>(7 + wanted_row), 0};
    const auto wanted = step_state({&row, 1}, {});
    for (size_t at = 0; at < wanted.size(); ++at)
        t.same("last", static_cast<int64_t>(at), last[at], wanted[at]);
}

}  // namespace

constinit const Certifier kBinaryCertifier = {"binary", certify_binary};

Certifiers certifiers(const ops::RmsNorm&) {
    static const Certifier list[] = {{"rmsnorm", certify_rmsnorm}, kHalfRowsCertifier};
    return list;
}
Certifiers certifiers(const ops::GatedRmsNorm&) {
    static const Certifier list[] = {{"gated_rmsnorm", certify_gated_rmsnorm}};
    return list;
}
Certifiers certifiers(const ops::Add&) { return {&kBinaryCertifier, 1}; }
Certifiers certifiers(const ops::SiluMul&) { return {&kBinaryCertifier, 1}; }
Certifiers certifiers(const ops::SigmoidMul&) { return {&kBinaryCertifier, 1}; }
Certifiers certifiers(const ops::Scale&) {
    static const Certifier list[] = {{"scale", certify_scale}};
    return list;
}
Certifiers certifiers(const ops::ScaleBySigmoid&) {
    static const Certifier list[] = {{"scale_by_sigmoid", certify_scale_by_sigmoid}};
    return list;
}
Certifiers certifiers(const ops::SplitHeads&) {
    static const Certifier list[] = {{"split_heads", certify_split_heads}};
    return list;
}
Certifiers certifiers(const ops::LastRow&) {
    static const Certifier list[] = {{"take_row", certify_take_row, 2}};
    return list;
}
Certifiers form_certifiers() {
    static const Certifier list[] = {
        {"quantise", certify_quantise}, {"token_tiles", certify_token_tiles}, kHalfRowsCertifier};
    return list;
}

}  // namespace hetune
