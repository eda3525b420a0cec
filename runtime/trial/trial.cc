#include "runtime/trial/trial.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "kernel_templates/quant/random_blocks.h"
#include "kernel_templates/quant/registry.h"
#include "runtime/compile/stopwatch.h"
#include "runtime/load/bound_plan.h"
#include "runtime/load/step_state.h"

namespace hetune {
namespace {

// What a kernel may not leave: of blocks a byte of -128, which no value is rounded to; of words no
// id and no count; else a NaN, which what is made of it would be, too.
constexpr uint8_t kBlockPoison = 0x80, kWordPoison = 0x7f, kNanPoison = 0xff;
constexpr uint32_t word_of(uint8_t byte) { return byte * 0x01010101u; }

std::span<const uint32_t> words_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const uint32_t*>(bytes.data()), bytes.size() / 4};
}

bool is_finite(uint32_t word) { return (word & 0x7f800000) != 0x7f800000; }

// The first that is wrong, or all of them. Runs over what is right by the cache line, which
// compilers make vector code of.
template <class Right>
size_t first_wrong(std::span<const uint32_t> words, Right&& right) {
    constexpr size_t kRun = 1024;
    for (size_t at = 0; at < words.size(); at += kRun) {
        const auto run = words.subspan(at, std::min(kRun, words.size() - at));
        size_t good = 0;
        for (const uint32_t word : run) good += right(word) ? 1 : 0;
        if (good == run.size()) continue;
        return at + static_cast<size_t>(std::ranges::find_if_not(run, right) - run.begin());
    }
    return words.size();
}

// [distinct rows, cols] to `count` values, row after row again.
void repeat_rows(std::vector<float>& values, int64_t count) {
    const size_t distinct = values.size();
    values.resize(static_cast<size_t>(count));
    for (size_t at = distinct; at < values.size(); ++at) values[at] = values[at - distinct];
}

// Made matrices repeat after so many tiles of 32 rows. A prime, as kDistinctRows is: experts and
// tiles that are a power of two apart hold other weights.
constexpr int64_t kDistinctTiles = 11;

// A step of few rows is tried whole, of more without the last three. Of many sequences there are
// as many as fill a tile of 16 tokens and begin another: each costs the oracle a context of its
// own.
int64_t rows_of_trial(int64_t full, bool decodes) {
    constexpr int64_t kSequences = 19;
    const int64_t rows = full > 8 ? full - 3 : full;
    return decodes ? std::min(rows, kSequences) : rows;
}

}  // namespace

Trial::Trial(const TrialSubject& subject)
    : subject_(subject), info_(*find_template(subject.spec().name)), random_(20260) {
    const auto param = std::ranges::find(info_.params, ParamRole::kStep, &TemplateParam::role);
    bool one_row = false;
    if (param != info_.params.end()) {
        const auto at = static_cast<size_t>(param - info_.params.begin());
        one_row = subject.step.args[at].buffer == subject.plan.last_step_buffer;
    }
    full_rows_ = one_row ? 1 : subject.plan.options.rows;
    rows_ = std::min(subject.rows.value_or(rows_of_trial(full_rows_, decodes())), full_rows_);
    set_position(0);
    make_turns();
}

Trial::~Trial() {
    const std::lock_guard turn(subject_.on.turn);
    for (auto& [place, argument] : arguments_) argument.buffer.reset();
}

// Of a base of 10000, as models have them; two floats a pair on the device.
void Trial::make_turns() {
    for (size_t i = 0; i < info_.params.size(); ++i) {
        const PlanBuffer& buffer = plan_buffer(i);
        if (buffer.role != BufferRole::kTurns) continue;
        const auto pairs = static_cast<size_t>(buffer.bytes / 8);
        std::vector<float> table;
        for (size_t p = 0; p < pairs; ++p) {
            turns_.push_back(
                std::pow(10000.0, -static_cast<double>(p) / static_cast<double>(pairs)) /
                (2 * std::numbers::pi));
            table.push_back(static_cast<float>(turns_.back()));
            table.push_back(static_cast<float>(turns_.back() - static_cast<double>(table.back())));
        }
        put(info_.params[i].name, std::move(table));
    }
}

void Trial::set_rows(std::vector<TrialRow> rows, int64_t page_stride, int64_t state_stride) {
    std::vector<StepRow> places;
    ended_.reset();
    for (const TrialRow& row : rows) {
        if (row.position == kEndedRow) ended_ = places.size();
        places.push_back({static_cast<int32_t>(row.position), row.slot});
    }
    // No kernel may look at rows behind those of the step.
    places.resize(static_cast<size_t>(full_rows_), {1 << 28, 1 << 28});
    step_ = step_state(places, {page_stride, state_stride});
    step_[0] = static_cast<int32_t>(rows_);
    want_row(rows_ - 1);
}

int64_t Trial::row_alignment() const {
    return info_.one_sequence ? std::max(subject_.step.rows_per_group, 2) : 2;
}

void Trial::want_row(int64_t row) { step_[3] = static_cast<int32_t>(row); }

void Trial::set_position(int64_t position) {
    std::vector<TrialRow> rows;
    for (int64_t row = 0; row < rows_; ++row) rows.push_back({position + row, 0});
    set_rows(std::move(rows), 0, 0);
}

const std::string& Trial::text(const std::string& constant) const {
    return subject_.spec().constants.at(constant);
}
int64_t Trial::number(const std::string& constant) const { return std::stoll(text(constant)); }
double Trial::real(const std::string& constant) const { return std::stod(text(constant)); }

size_t Trial::index_of(std::string_view param) const {
    const auto found = std::ranges::find(info_.params, param, &TemplateParam::name);
    if (found == info_.params.end())
        throw std::logic_error(fmt::format("{} has no parameter {}", info_.name, param));
    return static_cast<size_t>(found - info_.params.begin());
}

const PlanBuffer& Trial::plan_buffer(std::string_view param) const {
    return plan_buffer(index_of(param));
}

const PlanBuffer& Trial::plan_buffer(size_t index) const {
    return subject_.plan.buffers[static_cast<size_t>(subject_.step.args[index].buffer)];
}

Trial::Matrix& Trial::matrix(size_t index) {
    const auto [at, made] = matrices_.try_emplace(index);
    Matrix& m = at->second;
    if (!made) return m;
    const Tensor& tensor = subject_.file.tensor(plan_buffer(index).tensor);
    const QuantFormat& format = *find_quant(tensor.ggml_type);
    m.rows = tensor.rows();
    m.cols = tensor.cols();
    m.distinct = std::min(m.rows, 32 * kDistinctTiles);
    std::mt19937_64 random(random_());
    const auto raw = uneven_blocks(format, m.distinct * m.cols / format.block_elems,
                                   1.0 / std::sqrt(static_cast<double>(m.cols)), random);
    m.tile_bytes = static_cast<size_t>(tiles_bytes(format, 32, m.cols));
    m.tiles.resize(static_cast<size_t>(tiles_bytes(format, m.distinct, m.cols)));
    const int64_t tiles = (m.distinct + 31) / 32;
    pack_tiles(format, m.distinct, m.cols, raw.data(), m.tiles.data(), 0, tiles);
    if (m.rows > m.distinct && m.rows % 32 != 0) {  // lanes beyond the last row hold zeros
        const int64_t last = m.rows / 32 % kDistinctTiles;
        m.tiles.resize(m.tiles.size() + m.tile_bytes);
        pack_tiles(format, m.rows % 32, m.cols,
                   raw.data() + last * 32 * m.cols / format.block_elems * format.block_bytes,
                   m.tiles.data() + m.tiles.size() - m.tile_bytes, 0, 1);
    }
    m.values.resize(static_cast<size_t>(m.distinct * m.cols));
    for (int64_t block = 0; block < m.distinct * m.cols / format.block_elems; ++block)
        format.dequantise(raw.data() + block * format.block_bytes,
                          m.values.data() + block * format.block_elems);
    return m;
}

std::span<const float> Trial::weight_row(std::string_view param, int64_t row) {
    const Matrix& m = matrix(index_of(param));
    return std::span(m.values).subspan(static_cast<size_t>(row % m.distinct * m.cols),
                                       static_cast<size_t>(m.cols));
}
int64_t Trial::weight_rows(std::string_view param) const {
    return subject_.file.tensor(plan_buffer(param).tensor).rows();
}
int64_t Trial::distinct_weight_rows(std::string_view param) {
    return matrix(index_of(param)).distinct;
}
std::span<const float> Trial::weight_vector(std::string_view param) {
    std::vector<float> values =
        seeded_floats(static_cast<size_t>(plan_buffer(param).bytes / 4), random_);
    for (float& value : values) value += value < 0 ? -0.5f : 0.5f;
    return put(param, std::move(values));
}
std::span<const float> Trial::weight_vector(std::string_view param, float low, float high) {
    std::vector<float> values =
        seeded_floats(static_cast<size_t>(plan_buffer(param).bytes / 4), random_);
    for (float& value : values) value = low + (high - low) * (0.5f + 0.5f * value);
    return put(param, std::move(values));
}

// The distinct tiles again and again, up to the buffer's end.
void Trial::upload_weights(size_t index, GuardedBuffer& buffer) {
    const Matrix& m = matrix(index);
    const std::span<const std::byte> tiles = std::as_bytes(std::span(m.tiles));
    const auto distinct = static_cast<size_t>((m.distinct + 31) / 32) * m.tile_bytes;
    const auto whole =
        static_cast<size_t>((m.rows > m.distinct ? m.rows / 32 : (m.rows + 31) / 32)) *
        m.tile_bytes;
    for (size_t at = 0; at < whole; at += distinct)
        buffer.upload(at, tiles.first(std::min(distinct, whole - at)));
    if (tiles.size() > distinct) buffer.upload(whole, tiles.subspan(distinct));
}

void Trial::keep(std::string_view param, std::shared_ptr<const void> owner,
                 std::span<const std::byte> bytes) {
    Argument& argument = arguments_[index_of(param)];
    if (argument.bytes != bytes.size()) argument.after.reset();
    argument.owner = std::move(owner);
    argument.poisoned = false;
    argument.check = Check::kNone;
    argument.before = bytes;
    argument.bytes = bytes.size();
}

std::span<const float> Trial::put_floats(std::string_view param, int64_t count) {
    return put(param, seeded_floats(static_cast<size_t>(count), random_));
}

std::vector<float> Trial::put_activations(std::string_view param, int64_t rows, int64_t cols,
                                          bool quantised, bool tiled) {
    std::vector<float> values =
        seeded_floats(static_cast<size_t>(std::min(rows, kDistinctRows) * cols), random_);
    // Blocks of any size, so that one with the scale of another stands out.
    for (size_t at = 0; at < values.size(); ++at)
        values[at] *= 0.5f + 0.25f * static_cast<float>(at / 32 * 5 % 7);
    repeat_rows(values, rows * cols);
    if (!quantised)
        put(param, values);
    else if (auto blocks = quantise(values); tiled)
        put(param, token_tiles(blocks, cols));
    else
        put(param, blocks);
    return values;
}

void Trial::out(std::string_view param, Check check, size_t written, size_t all) {
    Argument& argument = arguments_[index_of(param)];
    argument.bytes = all;
    argument.poisoned = true;
    argument.check = check;
    argument.written = written;
    argument.row_bytes = 0;
}
void Trial::out_rows(std::string_view param, Check check, int64_t row_bytes) {
    out(param, check, static_cast<size_t>(rows_ * row_bytes),
        static_cast<size_t>(full_rows_ * row_bytes));
    arguments_[index_of(param)].row_bytes = static_cast<size_t>(row_bytes);
}
void Trial::out_floats(std::string_view param, int64_t width) {
    out_rows(param, Check::kFloats, width * 4);
}
void Trial::out_blocks(std::string_view param, int64_t width) {
    out_rows(param, Check::kBlocks, width / 32 * static_cast<int64_t>(sizeof(HostXBlock)));
}
void Trial::out_words(std::string_view param, int64_t written, int64_t all) {
    out(param, Check::kWords, static_cast<size_t>(written) * 4, static_cast<size_t>(all) * 4);
}
void Trial::out_all_floats(std::string_view param, int64_t count) {
    out(param, Check::kFloats, static_cast<size_t>(count) * 4, static_cast<size_t>(count) * 4);
}
void Trial::out_all_blocks(std::string_view param, int64_t count) {
    const auto bytes = static_cast<size_t>(count / 32) * sizeof(HostXBlock);
    out(param, Check::kBlocks, bytes, bytes);
}
void Trial::scratch(std::string_view param, int64_t bytes) {
    out(param, Check::kNone, 0, static_cast<size_t>(bytes));
}

uint8_t Trial::poison_of(Check check) {
    return check == Check::kBlocks  ? kBlockPoison
           : check == Check::kWords ? kWordPoison
                                    : kNanPoison;
}

std::vector<uint64_t> Trial::place_arguments() {
    std::vector<uint64_t> pointers;
    for (size_t i = 0; i < info_.params.size(); ++i) {
        const PlanArg& arg = subject_.step.args[i];
        const PlanBuffer& planned = plan_buffer(i);
        if (!arguments_.contains(i)) {
            // Vectors that no certifier asks for; a pointer that the constants switch off.
            if (planned.role == BufferRole::kRaw) weight_vector(info_.params[i].name);
            arguments_[i].tiles = planned.role == BufferRole::kTiles;
        }
        if (arguments_[i].tiles) arguments_[i].bytes = static_cast<size_t>(planned.bytes);
        if (info_.params[i].role == ParamRole::kStep) put(info_.params[i].name, step_);
        Argument& argument = arguments_[i];
        const auto offset = argument.tiles ? static_cast<uint64_t>(arg.offset) : 0;
        if (argument.buffer == nullptr) {  // else it holds weights, which were found unchanged
            argument.buffer = std::make_unique<GuardedBuffer>(subject_.on.device, argument.bytes);
            if (argument.poisoned)
                argument.buffer->fill(poison_of(argument.check));
            else if (argument.tiles)
                upload_weights(i, *argument.buffer);
            else
                argument.buffer->upload(0, argument.before);
        }
        pointers.push_back(argument.buffer->address() + offset);
    }
    return pointers;
}

void Trial::launch() {
    {
        const Stopwatch waiting;
        const std::lock_guard turn(subject_.on.turn);
        waited_ms_ += waiting.ms();
        Device& device = subject_.on.device;
        // Also where something throws: memory is given back within the turn, but for weights, which
        // the next launch needs again.
        const std::unique_ptr<Trial, void (*)(Trial*)> freed(this, [](Trial* trial) {
            for (auto& [place, argument] : trial->arguments_)
                if (!argument.tiles) argument.buffer.reset();
        });
        const std::vector<uint64_t> pointers = place_arguments();
        const Stopwatch watch;
        device.launch(subject_.module, launch_shape(subject_.step, static_cast<int>(rows_)),
                      std::as_bytes(std::span(pointers)));
        device.synchronize();
        launch_ms_ += watch.ms();
        for (const auto& entry : arguments_) read_back(entry.first);
    }
    for (const auto& entry : arguments_) look_at(entry.first);
}

void Trial::read_back(size_t index) {
    Argument& argument = arguments_.at(index);
    const ParamRole role = info_.params[index].role;
    const bool result = argument.poisoned || role == ParamRole::kOutput ||
                        role == ParamRole::kInOut || role == ParamRole::kState;
    if (const std::string damage = argument.buffer->damage(); !damage.empty()) fail(index, damage);
    const size_t same = result ? argument.first : argument.bytes;
    if (same > 0) compare_start(index, same);
    if (result) {
        const size_t changed = argument.bytes - same;
        if (argument.after == nullptr)
            argument.after = std::make_unique_for_overwrite<std::byte[]>(changed);
        argument.buffer->download({argument.after.get(), changed}, same);
    }
    if (!argument.tiles) argument.buffer.reset();
}

void Trial::compare_start(size_t index, size_t bytes) {
    constexpr size_t kWindow = 64 << 10, kWindows = 8;
    const Argument& argument = arguments_.at(index);
    if (argument.tiles) {  // the same of tiles: one window a distinct tile, where that begins
        const Matrix& m = matrix(index);
        const auto distinct = static_cast<size_t>((m.distinct + 31) / 32);
        std::vector<std::byte> memory(std::min(kWindow, m.tile_bytes));
        const size_t count = bytes / m.tile_bytes;
        for (size_t i = 0; i < std::min(count, kWindows); ++i) {
            const size_t tile =
                i * (count - 1) / std::max<size_t>(std::min(count, kWindows) - 1, 1);
            if (tile >= static_cast<size_t>(m.rows / 32)) continue;
            argument.buffer->download(memory, tile * m.tile_bytes);
            const auto* from = m.tiles.data() + tile % distinct * m.tile_bytes;
            if (std::memcmp(memory.data(), from, memory.size()) != 0)
                fail(index, "an input was changed");
        }
        return;
    }
    std::vector<std::byte> memory(std::min(kWindow, bytes));
    const size_t last = bytes - memory.size();
    for (size_t i = 0; i < (last == 0 ? 1 : kWindows); ++i) {
        const size_t at = i * last / (kWindows - 1);
        argument.buffer->download(memory, at);
        if (!std::ranges::equal(memory, argument.before.subspan(at, memory.size())))
            fail(index,
                 argument.first > 0 ? "what was there before was changed" : "an input was changed");
    }
}

void Trial::look_at(size_t index) const {
    const Argument& argument = arguments_.at(index);
    if (argument.after == nullptr || argument.check == Check::kNone) return;
    const uint32_t poison = word_of(poison_of(argument.check));
    const auto words = words_of(after_of(argument)), written = words.first(argument.written / 4);
    const size_t row = argument.row_bytes / 4;
    if (ended_ && row > 0) {
        look_at_written(index, 0, written.first(*ended_ * row));
        look_at_written(index, (*ended_ + 1) * row, written.subspan((*ended_ + 1) * row));
    } else {
        look_at_written(index, 0, written);
    }
    const size_t beyond = first_wrong(words.subspan(written.size()),
                                      [poison](uint32_t word) { return word == poison; });
    if (written.size() + beyond < words.size())
        fail(index, fmt::format("element {} is written, beyond the {} of the step",
                                written.size() + beyond, written.size()));
}

void Trial::look_at_written(size_t index, size_t first, std::span<const uint32_t> words) const {
    const Argument& argument = arguments_.at(index);
    const Check check = argument.check;
    const uint32_t poison = word_of(poison_of(check));
    const size_t hole = first_wrong(words, [poison](uint32_t word) { return word != poison; });
    if (hole < words.size())
        fail(index,
             fmt::format("element {} of {} is not written", first + hole, argument.written / 4));
    size_t number = words.size();
    if (check == Check::kFloats) number = first_wrong(words, is_finite);
    if (check == Check::kBlocks)
        for (size_t at = 0; at < words.size() && number == words.size();
             at += sizeof(HostXBlock) / 4)
            for (size_t i = at; i < at + 4; ++i)
                if (!is_finite(words[i])) number = std::min(number, i);
    if (number < words.size())
        fail(index, fmt::format("element {} is NaN or infinite", first + number));
}

void Trial::fail(size_t index, const std::string& what) const {
    throw TrialFailure(fmt::format("{}: {}", info_.params[index].name, what));
}

std::span<const std::byte> Trial::result(std::string_view param) const {
    const Argument& argument = arguments_.at(index_of(param));
    if (argument.after == nullptr)
        throw std::logic_error(fmt::format("{} is no result of {}", param, info_.name));
    return after_of(argument);
}

Comparison& Trial::compare(const std::string& output, double tolerance) {
    auto& known = comparisons_by_name_[output];
    if (known == nullptr) {
        comparisons_.push_back(std::make_unique<Comparison>(output, tolerance));
        known = comparisons_.back().get();
    }
    return *known;
}

void Trial::same(std::string_view output, int64_t row, int64_t got, int64_t wanted) {
    compare(std::string(output), kExact).add(row, got == wanted ? 0 : 1, 0);
}

void Trial::finish(std::vector<CertifiedOutput>& outputs) const {
    std::string wrong;
    for (const auto& comparison : comparisons_) {
        outputs.push_back(comparison->result());
        const CertifiedOutput& output = outputs.back();
        if (output.worst <= output.tolerance || !wrong.empty()) continue;
        std::string classes;
        for (size_t i = 0; i < output.by_row.size(); ++i)
            if (!(output.by_row[i] <= output.tolerance))
                classes += fmt::format("{}{}", classes.empty() ? "" : ", ", i);
        wrong = fmt::format("{}: error {:.3g} is above {:.3g}, in rows {} mod 16", output.name,
                            output.worst, output.tolerance, classes);
    }
    if (!wrong.empty()) throw TrialFailure(wrong);
}

}  // namespace hetune
