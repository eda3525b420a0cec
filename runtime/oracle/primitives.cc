#include "runtime/oracle/primitives.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>
#include <numeric>
#include <utility>

#include "kernel_templates/quant/registry.h"

namespace hetune::reference {

std::vector<float> weight_row(const Tensor& tensor, int64_t row) {
    const QuantFormat* format = find_quant(tensor.ggml_type);
    if (format == nullptr)
        throw ModelError(fmt::format("tensor '{}' is {}, which hetune cannot read", tensor.name,
                                     tensor.type_name()));
    const int64_t blocks = tensor.cols() / format->block_elems;
    const auto* from = reinterpret_cast<const uint8_t*>(tensor.row(row));
    std::vector<float> values(static_cast<size_t>(tensor.cols()));
    for (int64_t b = 0; b < blocks; ++b)
        format->dequantise(from + b * format->block_bytes, values.data() + b * format->block_elems);
    return values;
}

std::vector<float> weight_vector(const Tensor& tensor) { return weight_row(tensor, 0); }

double dot(std::span<const float> a, std::span<const float> b) {
    constexpr size_t kSums = 8;
    double sums[kSums] = {};
    size_t at = 0;
    for (; at + kSums <= a.size(); at += kSums)
        for (size_t i = 0; i < kSums; ++i)
            sums[i] += static_cast<double>(a[at + i]) * static_cast<double>(b[at + i]);
    for (; at < a.size(); ++at) sums[0] += static_cast<double>(a[at]) * static_cast<double>(b[at]);
    return std::accumulate(std::begin(sums), std::end(sums), 0.0);
}

void linear(const Tensor& weight, int64_t first, int64_t out, std::span<const float> x,
            std::span<float> y) {
    const auto in = static_cast<size_t>(weight.cols());
    const size_t rows = x.size() / in;
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < out; ++o) {
        const std::vector<float> w = weight_row(weight, first + o);
        for (size_t r = 0; r < rows; ++r) {
            y[r * static_cast<size_t>(out) + static_cast<size_t>(o)] =
                static_cast<float>(dot(w, x.subspan(r * in, in)));
        }
    }
}

void rmsnorm(std::span<const float> x, std::span<const float> weight, double eps,
             std::span<float> y) {
    double squares = 0;
    for (const float v : x) squares += static_cast<double>(v) * static_cast<double>(v);
    const double factor = 1.0 / std::sqrt(squares / static_cast<double>(x.size()) + eps);
    for (size_t i = 0; i < x.size(); ++i)
        y[i] =
            static_cast<float>(static_cast<double>(x[i]) * factor * static_cast<double>(weight[i]));
}

void rope(std::span<float> heads, size_t size, std::span<const double> turns, double magnitude,
          int64_t position, bool interleaved) {
    for (size_t i = 0; i < turns.size(); ++i) {
        const double exact = turns[i] * static_cast<double>(position);
        const double angle = 2 * std::numbers::pi * (exact - std::floor(exact));
        const double c = magnitude * std::cos(angle);
        const double s = magnitude * std::sin(angle);
        for (size_t head = 0; head < heads.size(); head += size) {
            float& a = heads[head + (interleaved ? 2 * i : i)];
            float& b = heads[head + (interleaved ? 2 * i + 1 : i + turns.size())];
            const double x = a, y = b;
            a = static_cast<float>(x * c - y * s);
            b = static_cast<float>(y * c + x * s);
        }
    }
}

void attend(std::span<const float> q, const float* k, const float* v, int64_t stride,
            std::span<const int64_t> counts, double scale, std::span<float> y,
            const std::function<void(int64_t count)>& ready) {
    std::vector<double> weights(static_cast<size_t>(counts.back()));
    for (size_t t = 0; t < weights.size(); ++t)
        weights[t] = dot(q, std::span(k + static_cast<int64_t>(t) * stride, q.size())) * scale;
    std::vector<double> sums(y.size());
    double peak = -std::numeric_limits<double>::infinity(), total = 0;
    int64_t seen = 0;
    for (const int64_t count : counts) {
        // Of the keys so far: no sum overflows, and none that counts comes to nothing.
        const auto fresh = std::span(weights).subspan(static_cast<size_t>(seen),
                                                      static_cast<size_t>(count - seen));
        const double before = std::exchange(peak, std::max(peak, *std::ranges::max_element(fresh)));
        const double shrink = std::exp(before - peak);
        total *= shrink;
        for (double& sum : sums) sum *= shrink;
        for (; seen < count; ++seen) {
            const double weight = std::exp(weights[static_cast<size_t>(seen)] - peak);
            total += weight;
            for (size_t d = 0; d < y.size(); ++d)
                sums[d] += weight * static_cast<double>(v[seen * stride + static_cast<int64_t>(d)]);
        }
        for (size_t d = 0; d < y.size(); ++d) y[d] = static_cast<float>(sums[d] / total);
        ready(count);
    }
}

void attend(std::span<const float> q, const float* k, const float* v, int64_t stride, int64_t count,
            double scale, std::span<float> y) {
    attend(q, k, v, stride, std::span(&count, 1), scale, y, [](int64_t) {});
}

void delta_rule(std::span<float> state, std::span<const float> q, std::span<const float> k,
                std::span<const float> v, double log_decay, double beta, double eps,
                std::span<float> y) {
    const auto normalised = [&](std::span<const float> x, double scale) {
        double squares = 0;
        for (const float value : x)
            squares += static_cast<double>(value) * static_cast<double>(value);
        std::vector<double> result;
        for (const float value : x)
            result.push_back(static_cast<double>(value) * scale /
                             std::max(std::sqrt(squares), eps));
        return result;
    };
    const std::vector<double> query = normalised(q, 1.0 / std::sqrt(static_cast<double>(q.size())));
    const std::vector<double> key = normalised(k, 1.0);
    const double decay = std::exp(log_decay);
    std::vector<double> seen(v.size()), sums(v.size());
    for (size_t i = 0; i < key.size(); ++i)
        for (size_t c = 0; c < v.size(); ++c)
            seen[c] += decay * static_cast<double>(state[i * v.size() + c]) * key[i];
    for (size_t i = 0; i < key.size(); ++i)
        for (size_t c = 0; c < v.size(); ++c) {
            const double delta = beta * (static_cast<double>(v[c]) - seen[c]);
            float& entry = state[i * v.size() + c];
            const double updated = decay * static_cast<double>(entry) + key[i] * delta;
            sums[c] += updated * query[i];
            entry = static_cast<float>(updated);
        }
    for (size_t c = 0; c < v.size(); ++c) y[c] = static_cast<float>(sums[c]);
}

Routes route(std::span<const float> logits, size_t used, bool renormalise, size_t groups,
             size_t groups_used) {
    std::vector<int> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    const auto logit = [&](int expert) {
        return static_cast<double>(logits[static_cast<size_t>(expert)]);
    };
    std::ranges::stable_sort(order, [&](int a, int b) { return logit(a) > logit(b); });
    const double peak = logit(order[0]);
    double total = 0;
    for (size_t i = 0; i < order.size(); ++i) total += std::exp(logit(order[i]) - peak);
    if (groups > 1) {
        const int of_group = static_cast<int>(logits.size() / groups);
        std::vector<double> scores(groups);
        std::vector<int> counted(groups), ranked(groups);
        for (const int expert : order) {
            const auto group = static_cast<size_t>(expert / of_group);
            if (++counted[group] <= 2) scores[group] += std::exp(logit(expert) - peak);
        }
        std::iota(ranked.begin(), ranked.end(), 0);
        std::ranges::stable_sort(ranked, std::greater{},
                                 [&](int group) { return scores[static_cast<size_t>(group)]; });
        ranked.resize(groups_used);
        std::erase_if(order, [&](int expert) {
            return std::ranges::find(ranked, expert / of_group) == ranked.end();
        });
    }
    if (renormalise) {
        total = 0;
        for (size_t i = 0; i < used; ++i) total += std::exp(logit(order[i]) - peak);
    }
    Routes routes;
    for (size_t i = 0; i < used; ++i) {
        routes.experts.push_back(order[i]);
        routes.shares.push_back(static_cast<float>(std::exp(logit(order[i]) - peak) / total));
    }
    return routes;
}

void round_to_8_bits(std::span<float> values, size_t block) {
    for (size_t at = 0; at < values.size(); at += block) {
        const auto part = values.subspan(at, std::min(block, values.size() - at));
        float peak = 0;
        for (const float v : part) peak = std::max(peak, std::fabs(v));
        if (!(peak > 0)) continue;
        const float scale = peak * (1.0f / 127.0f), inverse = 127.0f * (1.0f / peak);
        for (float& v : part) v = scale * std::nearbyint(v * inverse);
    }
}

namespace {

// To `bits` bits of fraction, ties to even, from an exponent of `least` on; below, steps are equal.
float round_fraction(float v, int bits, int least) {
    if (v == 0 || !std::isfinite(v)) return v;
    const int exponent = std::max(std::ilogb(v), least);
    return std::ldexp(std::nearbyint(std::ldexp(v, bits - exponent)), exponent - bits);
}

}  // namespace

void round_to_kv(std::span<float> values, KvType type, size_t head_size) {
    switch (type) {
        case KvType::kF32:
            return;
        case KvType::kF16:
            for (float& v : values) v = round_fraction(v, 10, -14);
            return;
        case KvType::kBF16:
            for (float& v : values) v = round_fraction(v, 7, -126);
            return;
        case KvType::kQ8:
            return round_to_8_bits(values, head_size);
    }
}

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double silu(double x) { return x * sigmoid(x); }
double softplus(double x) { return x > 20.0 ? x : std::log1p(std::exp(x)); }

}  // namespace hetune::reference
