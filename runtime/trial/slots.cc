#include "runtime/trial/slots.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "planner/plan/device_sizes.h"

namespace hetune {
namespace {

// As floats, halves and bf16 a NaN. As bytes -1, with scales that are NaN.
constexpr std::byte kPoison{0xff};

}  // namespace

StepPlaces::StepPlaces(const Trial& t, int64_t position) {
    if (!t.decodes()) {
        const int64_t rows = t.rows(), alignment = t.row_alignment();
        // The second sequence's first row; no row where there is one sequence.
        const int64_t second = rows > alignment ? (rows - 1) / alignment * alignment : rows;
        const int64_t filling = second < rows ? 1 : 0;
        parts = {{0, second - filling, position, 0}};
        lengths = {position + (second < rows ? second - filling : t.full_rows())};
        if (second < rows) {
            parts.push_back({second, rows, 0, 1});
            lengths.push_back(t.full_rows() - second);
        }
        for (const Part& part : parts) {
            while (std::ssize(positions) < part.begin) {
                positions.push_back(positions.back());
                sequence.push_back(sequence.back());
            }
            for (int64_t row = part.begin; row < part.end; ++row) {
                positions.push_back(part.position + row - part.begin);
                sequence.push_back(part.sequence);
            }
        }
        return;
    }
    constexpr std::array<int64_t, 6> kEnds = {kPageTokens - 1,    kPageTokens, 0, 31, 32,
                                              2 * kPageTokens + 7};
    positions = {position};
    for (int64_t row = 1; row < t.rows(); ++row)
        positions.push_back(kEnds[static_cast<size_t>(row - 1) % kEnds.size()]);
    for (const int64_t at : positions) {
        const auto row = static_cast<int64_t>(lengths.size());
        parts.push_back({row, row + 1, at, lengths.size()});
        sequence.push_back(lengths.size());
        lengths.push_back(at + 1);
    }
    if (t.rows() > 2) positions[static_cast<size_t>(t.rows()) / 2] = kEndedRow;
}

bool StepPlaces::fills(size_t row) const {
    return std::ranges::none_of(parts, [&](const Part& part) {
        const auto at = static_cast<int64_t>(row);
        return part.begin <= at && at < part.end;
    });
}

std::vector<TrialRow> StepPlaces::rows() const {
    std::vector<TrialRow> rows;
    for (size_t row = 0; row < positions.size(); ++row)
        rows.push_back({positions[row], trial_slot(lengths.size(), sequence[row])});
    return rows;
}

CachePages::CachePages(Trial& t, const StepPlaces& places) : lengths_(places.lengths) {
    for (const int64_t length : lengths_)
        stride_ = std::max(stride_, (length + kPageTokens - 1) / kPageTokens + 1);
    table_.assign(static_cast<size_t>(stride_) * (2 * lengths_.size()), 0);
    for (const int64_t length : lengths_) pages_ += (length + kPageTokens - 1) / kPageTokens;
    // From the last page down to page 1, the last position of the first sequence foremost: a
    // certifier of one row looks at the end of the cache alone.
    auto page = static_cast<int32_t>(pages_);
    for (size_t i = 0; i < lengths_.size(); ++i)
        for (int64_t at = (lengths_[i] + kPageTokens - 1) / kPageTokens; at-- > 0;)
            table_[static_cast<size_t>(slot(i) * stride_ + at)] = --page;
    t.put("pages", table_);
    t.set_rows(places.rows(), stride_, 0);
}

int64_t CachePages::row(size_t sequence, int64_t position) const {
    const auto at = static_cast<size_t>(slot(sequence) * stride_ + position / kPageTokens);
    return table_[at] * kPageTokens + position % kPageTokens;
}

int64_t CachePages::rows() const { return pages_ * kPageTokens; }

std::vector<std::byte> CachePages::place(const std::vector<std::vector<std::byte>>& of,
                                         int64_t row_bytes) const {
    std::vector<std::byte> cache(static_cast<size_t>(rows() * row_bytes), kPoison);
    for (size_t i = 0; i < of.size(); ++i)
        for (int64_t first = 0; first < lengths_[i]; first += kPageTokens) {
            const int64_t count = std::min(kPageTokens, lengths_[i] - first);
            std::memcpy(cache.data() + row(i, first) * row_bytes, of[i].data() + first * row_bytes,
                        static_cast<size_t>(count * row_bytes));
        }
    return cache;
}

std::vector<std::byte> CachePages::gather(std::span<const std::byte> cache, size_t sequence,
                                          int64_t row_bytes) const {
    std::vector<std::byte> rows(static_cast<size_t>(lengths_[sequence] * row_bytes));
    for (int64_t first = 0; first < lengths_[sequence]; first += kPageTokens) {
        const int64_t count = std::min(kPageTokens, lengths_[sequence] - first);
        std::memcpy(rows.data() + first * row_bytes,
                    cache.data() + row(sequence, first) * row_bytes,
                    static_cast<size_t>(count * row_bytes));
    }
    return rows;
}

SlotStates::SlotStates(Trial& t, std::string param, std::vector<std::vector<float>> of,
                       int64_t stride)
    : trial_(t), param_(std::move(param)), of_(std::move(of)), stride_(stride) {
    std::vector<float> all(static_cast<size_t>(stride_) * 2 * of_.size(),
                           std::numeric_limits<float>::quiet_NaN());
    for (size_t i = 0; i < of_.size(); ++i)
        std::ranges::copy(of_[i], all.begin() + trial_slot(of_.size(), i) * stride_);
    t.put(param_, std::move(all));
}

std::span<const float> SlotStates::read(size_t sequence) {
    const auto all = trial_.get<float>(param_);
    const auto size = static_cast<int64_t>(of_[sequence].size());
    const auto is_poison = [](float value) { return value != value; };
    const auto slot_of = [&](int64_t slot) {
        return all.subspan(static_cast<size_t>(slot * stride_), static_cast<size_t>(stride_));
    };
    const int slot = trial_slot(of_.size(), sequence);
    const auto own = slot_of(slot), before = slot_of(slot - 1);
    const auto wrong =
        std::ranges::find_if_not(own.subspan(static_cast<size_t>(size)), is_poison) - own.begin();
    trial_.same(param_ + ", behind a slot", wrong, wrong, stride_);
    trial_.same(param_ + ", of another slot", 0, std::ranges::all_of(before, is_poison) ? 1 : 0, 1);
    return own.first(static_cast<size_t>(size));
}

}  // namespace hetune
