#include "runtime/engine/session.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <optional>

#include "runtime/compile/first_exception.h"
#include "runtime/compile/stopwatch.h"
#include "runtime/load/bad_numbers.h"

namespace hetune {
namespace {

// The device works on one while the host sees to the one before; more cover a host that is slow to
// wake. Where tokens come faster than an eye sees, several are launched at once, for
// SessionOptions::burst_seconds. With a burst behind all others, less than the ring of tokens
// holds.
constexpr int64_t kStepsInFlight = 4, kBurst = 32;
// A launch costs the host by the graph's nodes, and a loop the device by its rounds: two tokens a
// round. Without loops a burst is one long graph.
constexpr int64_t kRound = 2, kLine = 8;

// Trials prepared and judged at the same time, each with up to some 200 MB of host memory.
constexpr int kTrialThreads = 8;

// A part of a buffer as launches see it; copies and fills take the whole.
class Part : public Buffer {
  public:
    Part(const Buffer& whole, size_t offset, size_t bytes)
        : address_(whole.address() + offset), bytes_(bytes) {}
    uint64_t address() const override { return address_; }
    size_t bytes() const override { return bytes_; }

  private:
    uint64_t address_;
    size_t bytes_;
};

size_t rows_of(const BoundPlan& plan) { return static_cast<size_t>(plan.plan().options.rows); }

}  // namespace

Session::Session(const ModelFile& file, Device& device, KernelLibrary& library, TileStore* tiles,
                 SessionOptions options, const LoadProgress& progress, const SessionChecks& checks)
    : file_(file),
      device_(device),
      graph_(build_layer_graph(file)),
      options_(std::move(options)),
      memory_limit_(options_.memory_limit > 0 ? options_.memory_limit
                                              : static_cast<int64_t>(device.info().free_bytes)),
      weights_(device, file, graph_, tiles) {
    options_.prefill_rows = prefill_rows(options_, device.arch());
    if (!device.info().graph_loops) options_.loops = false;
    Loading loading{library, progress, checks, {}};
    SessionPlans& needed = loading.plans;
    do {
        Stopwatch watch;
        needed = session_plans(graph_, file, device.arch(), options_);
        times_.plan_ms += watch.lap();
    } while (!make_kernels(loading) || !certify_kernels(loading));

    // Behind the trials, which thus have the room of the weights to themselves.
    Stopwatch watch;
    weights_.load(needed.buffers(), [&](size_t done, size_t total) {
        if (progress) progress("repack", done, total);
    });
    times_.repack_ms += watch.lap();
    allocate_shared(needed);
    ring_ = device_.allocate_host(static_cast<size_t>(token_ring_size()) * sizeof(int32_t));
    for (int64_t i = 0; i <= kStepsInFlight; ++i) flights_.push_back({device_.make_mark(), 0});
    tokens_.reserve(static_cast<size_t>(options_.context) + 1);
    decode_ = bind(std::move(needed.steps[0]));
    prefill_ = bind(std::move(needed.steps[1]));
    if (options_.all_logits) all_ = bind(std::move(needed.steps[2]));
    std::vector<Buffer*> buffers = {decode_.logits, shared_.at("sampler").get(), decode_.step,
                                    decode_.tokens, ring_.buffer.get()};
    if (const auto loop = shared_.find("loop"); loop != shared_.end())
        buffers.push_back(loop->second.get());
    sampler_ = std::make_unique<BoundPlan>(device_, std::move(needed.sampler), modules_, buffers);
    std::vector<Buffer*> state;
    if (state_ != nullptr) state.push_back(state_.get());
    for (const PlanBuffer& buffer : decode_.plan->plan().buffers) {
        if (buffer.role != BufferRole::kCounters) continue;
        Buffer& counters = *shared_.at(buffer.name);
        device_.fill(counters, 0, counters.bytes(), 0);
    }
    snapshots_ = std::make_unique<StateSnapshots>(device_, std::move(state),
                                                  options_.state_snapshots, options_.context);
    reset();
    times_.load_ms += watch.lap();
}

void Session::refuse(const KernelSpec& spec, const std::string& reason,
                     const SessionChecks& checks) {
    options_.refused[spec.to_string()] = reason;
    modules_.erase(spec.to_string());
    if (checks.warn)
        checks.warn(fmt::format("{} is not used, the planner's next variant is: {}",
                                spec.to_string(), reason));
}

bool Session::make_kernels(Loading& loading) {
    Stopwatch watch;
    const std::vector<Plan>& plans = loading.plans.steps;
    const std::string device_name = device_.info().name;
    check_memory(memory_needs(plans, options_.context, 0, options_.state_snapshots), memory_limit_,
                 device_name);
    const std::vector<KernelSpec> wanted = loading.plans.kernels();
    const auto made =
        loading.library.make(wanted, loading.checks.retry, [&](size_t done, size_t total) {
            if (loading.progress) loading.progress("compile", done, total);
        });
    times_.compile_ms += watch.lap();
    bool complete = true;
    int64_t code_bytes = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
        code_bytes += static_cast<int64_t>(made[i].code.bytes.size());
        if (made[i].refused.empty()) continue;
        refuse(wanted[i], made[i].refused, loading.checks);
        complete = false;
    }
    if (!complete) return false;
    memory_ = memory_needs(plans, options_.context, code_bytes, options_.state_snapshots);
    check_memory(memory_, memory_limit_, device_name);
    for (size_t i = 0; i < wanted.size(); ++i) {
        auto& module = modules_[wanted[i].to_string()];
        if (module == nullptr) module = device_.load(made[i].code);
        objects_[wanted[i].to_string()] = hash_of(made[i].code);
    }
    times_.load_ms += watch.lap();
    return true;
}

bool Session::certify_kernels(Loading& loading) {
    if (loading.checks.certify == CertifyMode::kOff) return true;
    Stopwatch watch;
    // One step of each kernel stands for all; of plans for one row and for many, those for many.
    std::vector<const Plan*> plans = {&loading.plans.sampler};
    for (const Plan& plan : loading.plans.steps) plans.insert(plans.begin(), &plan);
    std::map<std::string, std::pair<const Plan*, const PlanStep*>> uses;
    for (const Plan* plan : plans)
        for (const PlanStep& step : plan->steps)
            uses.emplace(step.spec.to_string(), std::pair(plan, &step));
    std::vector<std::pair<const Plan*, const PlanStep*>> unknown;
    for (const auto& [text, use] : uses)
        if (std::ranges::find(certificates_, use.second->spec, &CertifiedKernel::spec) ==
            certificates_.end())
            unknown.push_back(use);
    const size_t known = uses.size() - unknown.size();

    // Inputs and oracles of several at a time, on the device one after the other.
    TrialDevice on{.device = device_};
    std::vector<CertifiedKernel> tried(unknown.size());
    std::mutex telling;
    size_t done = known;
    bool fresh = false;  // nothing is worth telling of a certificate that was there
    FirstException error;
#pragma omp parallel for schedule(dynamic, 1) \
    num_threads(std::min(omp_get_max_threads(), kTrialThreads))
    for (size_t i = 0; i < unknown.size(); ++i)
        error.guard([&] {
            const auto& [plan, step] = unknown[i];
            const TrialSubject subject{
                on, *modules_.at(step->spec.to_string()), *plan, *step, graph_, file_};
            tried[i] = certify(loading.library.store().facts(), objects_.at(step->spec.to_string()),
                               subject, loading.checks.certify, loading.checks.retry);
            const std::lock_guard lock(telling);
            fresh |= tried[i].fresh;
            ++done;
            if (fresh && loading.progress) loading.progress("certify", done, uses.size());
        });
    error.rethrow();
    bool complete = true;
    for (CertifiedKernel& kernel : tried) {
        const Certificate& certificate = kernel.certificate;
        if (!certificate.passed()) {
            refuse(kernel.spec, "its trial failed: " + certificate.failure, loading.checks);
            complete = false;
        }
        certificates_.push_back(std::move(kernel));
    }
    times_.certify_ms += watch.lap();
    return complete;
}

void Session::allocate_shared(const SessionPlans& plans) {
    for (const PlanBuffer& buffer : plans.sampler.buffers)
        if (buffer.name == "logits" || buffer.name == "sampler" || buffer.name == "loop")
            shared(buffer);
    for (const Plan& plan : plans.steps)
        for (const PlanBuffer& buffer : plan.buffers)
            if (buffer.role == BufferRole::kScratch || buffer.role == BufferRole::kKv ||
                buffer.role == BufferRole::kCounters)
                shared(buffer);

    // All recurrent state lies together, so that a snapshot is one copy.
    std::map<std::string, size_t> states;
    for (const Plan& plan : plans.steps)
        for (const PlanBuffer& buffer : plan.buffers)
            if (buffer.role == BufferRole::kState) {
                size_t& bytes = states[buffer.name];
                bytes = std::max(bytes, (static_cast<size_t>(buffer.bytes) + 255) / 256 * 256);
            }
    size_t all = 0;
    for (const auto& [name, bytes] : states) all += bytes;
    if (all == 0) return;
    state_ = device_.allocate(all);
    size_t at = 0;
    for (const auto& [name, bytes] : states) {
        shared_[name] = std::make_unique<Part>(*state_, at, bytes);
        at += bytes;
    }
}

// What is in flight still writes to memory that goes with this.
Session::~Session() {
    try {
        device_.synchronize();
    } catch (const DeviceError&) {
        // The device failed before: nothing is in flight any more.
    }
}

Plan Session::plan_for(int rows, bool all_logits) const {
    return session_step(graph_, file_, device_.arch(), options_, rows, all_logits);
}

// Plans share these; the largest scratch wins.
Buffer* Session::shared(const PlanBuffer& buffer) {
    const auto bytes =
        static_cast<size_t>(buffer.bytes + buffer.bytes_per_context * options_.context);
    auto& made = shared_[buffer.name];
    if (made == nullptr || made->bytes() < bytes)
        made = device_.allocate(std::max<size_t>(bytes, 1));
    return made.get();
}

Session::Bound Session::bind(Plan plan) {
    Bound bound;
    std::vector<Buffer*> buffers;
    for (const PlanBuffer& buffer : plan.buffers) {
        if (Buffer* weight = weights_.find(buffer.name)) {
            buffers.push_back(weight);
        } else if (const auto found = shared_.find(buffer.name);
                   found != shared_.end() &&
                   !(buffer.role == BufferRole::kLogits && plan.options.all_logits)) {
            buffers.push_back(found->second.get());
        } else {
            bound.own.push_back(device_.allocate(static_cast<size_t>(buffer.bytes)));
            buffers.push_back(bound.own.back().get());
        }
    }
    bound.step = buffers[static_cast<size_t>(plan.step_buffer)];
    bound.tokens = buffers[static_cast<size_t>(plan.tokens_buffer)];
    bound.logits = buffers[static_cast<size_t>(plan.logits_buffer)];
    bound.plan = std::make_unique<BoundPlan>(device_, std::move(plan), modules_, buffers);
    return bound;
}

void Session::reset() {
    device_.synchronize();
    forget_flights();
    position_ = 0;
    tokens_.clear();
    snapshots_->clear();
}

void Session::truncate(int64_t count) {
    if (count < 0 || count > std::ssize(tokens_))
        throw std::runtime_error(fmt::format("the context of {} tokens cannot be cut back to {}",
                                             tokens_.size(), count));
    tokens_.resize(static_cast<size_t>(count));
    rewind(std::min(count, position_));
}

void Session::advance(int64_t tokens) {
    position_ += tokens;
    if (snapshots_->due(position_ - tokens, position_)) snapshots_->keep(position_);
}

Session::Place Session::place() {
    settle();
    Place place{position_, {tokens_.begin(), tokens_.begin() + position_}, {}};
    if (state_ != nullptr) {
        place.state.resize(state_->bytes());
        device_.download(place.state, *state_, 0);
    }
    return place;
}

void Session::go_back(const Place& place) {
    device_.synchronize();
    forget_flights();
    snapshots_->forget_beyond(place.position);
    if (state_ != nullptr) device_.upload(*state_, 0, place.state);
    position_ = place.position;
    tokens_.assign(place.tokens.begin(), place.tokens.end());
}

void Session::put_inputs(Bound& bound, std::span<const int32_t> tokens) {
    const int32_t state[2] = {static_cast<int32_t>(position_), static_cast<int32_t>(tokens.size())};
    device_.upload(*bound.step, 0, std::as_bytes(std::span(state)));
    device_.upload(*bound.tokens, 0, std::as_bytes(tokens));
}

void Session::step(Bound& bound, std::span<const int32_t> tokens) {
    put_inputs(bound, tokens);
    bound.plan->run(static_cast<int>(tokens.size()));
    advance(static_cast<int64_t>(tokens.size()));
}

void Session::run_to(int64_t end, const std::function<bool()>& cancelled) {
    while (position_ < end) {
        if (cancelled && cancelled()) throw Cancelled();
        const auto rest = std::span(tokens_).subspan(static_cast<size_t>(position_),
                                                     static_cast<size_t>(end - position_));
        Bound& bound = rest.size() == 1 ? decode_ : prefill_;
        step(bound, rest.first(std::min(rest.size(), rows_of(*bound.plan))));
    }
}

void Session::append(std::span<const int32_t> tokens, const std::function<void()>& work) {
    settle();
    check_fits(tokens, std::ssize(tokens_), options_.context, graph_.vocabulary);
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    try {
        work();
    } catch (const DeviceError&) {
        throw;
    } catch (...) {
        tokens_.resize(static_cast<size_t>(position_));
        throw;
    }
}

std::vector<float> Session::forward(std::span<const int32_t> tokens, bool every_row) {
    std::vector<float> logits;
    if (tokens.empty()) return logits;
    append(tokens, [&] {
        const auto vocabulary = static_cast<size_t>(graph_.vocabulary);
        const auto read = [&](const Bound& bound, size_t rows) {
            logits.resize(logits.size() + rows * vocabulary);
            device_.download(std::as_writable_bytes(std::span(logits).last(rows * vocabulary)),
                             *bound.logits, 0);
        };
        // A drawn token goes through the decode plan, whatever comes behind it.
        run_to(std::ssize(tokens_) - std::ssize(tokens));
        if (!every_row) run_to(std::ssize(tokens_));
        if (!every_row) read(decode_, 1);  // all plans for the last row share these logits
        while (position_ < std::ssize(tokens_)) {
            const auto rest = std::span(tokens_).subspan(static_cast<size_t>(position_));
            Bound& bound = rest.size() == 1 || all_.plan == nullptr ? decode_ : all_;
            const size_t rows = std::min(rest.size(), rows_of(*bound.plan));
            step(bound, rest.first(rows));
            read(bound, rows);
        }
    });
    if (!all_finite(logits)) throw_number_error();
    return logits;
}

void Session::trace(std::span<const int32_t> tokens, const AfterStep& after) {
    append(tokens, [&] {
        Bound& plan = all_.plan != nullptr ? all_ : decode_;
        run_to(std::ssize(tokens_) - std::ssize(tokens));
        trace_to(std::ssize(tokens_), plan, [&](const BoundPlan& bound, size_t step, int rows) {
            after(bound, step, rows);
            return true;
        });
    });
}

void Session::trace_to(int64_t end, Bound& bound, const GoesOn& goes_on) {
    BoundPlan& plan = *bound.plan;
    while (position_ < end) {
        const size_t rows = std::min(static_cast<size_t>(end - position_), rows_of(plan));
        put_inputs(bound, std::span(tokens_).subspan(static_cast<size_t>(position_), rows));
        for (size_t i = 0; i < plan.plan().steps.size(); ++i) {
            plan.launch(static_cast<int>(rows), i, i + 1);
            if (!goes_on(plan, i, static_cast<int>(rows))) return;
        }
        position_ += static_cast<int64_t>(rows);
    }
}

void Session::throw_number_error() {
    const std::vector<int32_t> tokens = tokens_;
    std::optional<BadNumber> first;
    const auto look = [&](const BoundPlan& plan, size_t step, int rows) {
        first = find_bad_number(device_, plan, step, rows, position_);
        return !first;
    };
    reset();
    tokens_ = tokens;
    // By the plans that forward() and prompt() take, since another kernel may be right.
    trace_to(std::ssize(tokens) - 1, prefill_, look);
    if (!first) trace_to(std::ssize(tokens), decode_, look);
    reset();
    throw NumberError(number_error_text(file_, options_, first, std::ssize(tokens)));
}

int32_t Session::prompt(std::span<const int32_t> tokens, const Sampling& sampling,
                        const DrawLimit& limit) {
    check_sampling(sampling);
    if (tokens.empty() && position_ == std::ssize(tokens_))
        throw std::runtime_error("the prompt has no token");
    append(tokens, [&] {
        snapshots_->keep(position_);  // the end of the answer before
        run_to(std::ssize(tokens_), limit.cancelled);
    });
    snapshots_->keep(position_);
    // Without a limit the device draws as it is asked to.
    const bool limited = limit.draws > 0 && limit.ends.size() <= static_cast<size_t>(most_ends());
    const DrawLimit on_device = limited ? limit : DrawLimit{};
    const std::vector<std::byte> state = sampler_state(sampling, tokens_, on_device);
    device_.upload(*shared_.at("sampler"), 0, state);
    // The draw moves the decode step on by one.
    const int32_t step_state[2] = {static_cast<int32_t>(position_) - 1, 1};
    device_.upload(*decode_.step, 0, std::as_bytes(std::span(step_state)));
    std::memcpy(&drawn_, state.data() + sampler_count_offset(), sizeof drawn_);
    ends_.assign(on_device.ends.begin(), on_device.ends.end());
    ahead_ = limited ? limit.draws - 1 : 0;
    sampler_->launch(1, 0, 1);
    Mark& drawn = *flights_[next_flight_ % flights_.size()].mark;
    device_.record(drawn);
    device_.wait(drawn);
    last_landing_ = std::chrono::steady_clock::now();
    return drawn_token();
}

void Session::record_steps(int64_t steps) {
    for (int64_t i = 0; i < steps; ++i) {
        decode_.plan->launch(1, 0, decode_.plan->plan().steps.size());
        sampler_->launch(1, 0, 1);
    }
}

void Session::capture_burst() {
    if (const auto found = shared_.find("loop"); found != shared_.end()) {
        Buffer& loop = *found->second;
        rounds_ = kBurst / kRound;
        device_.upload(loop, 0, loop_state(static_cast<int32_t>(rounds_)));
        burst_graph_ = device_.capture_loop(loop, [&] {
            record_steps(kRound);
            sampler_->launch(1, 1, 2);
        });
        if (burst_graph_ != nullptr) {
            loop_ = &loop;
            return;
        }
    }
    burst_graph_ = device_.capture([&] { record_steps(kLine); });
}

int64_t Session::longest_burst(int64_t most) {
    if (burst_graph_ == nullptr) {
        if (most < (shared_.contains("loop") ? kRound : kLine)) return 0;
        capture_burst();
    }
    if (loop_ != nullptr) return std::min(most, kBurst) / kRound * kRound;
    return most >= kLine ? kLine : 0;
}

void Session::launch_steps(int64_t steps) {
    if (steps > 1 && loop_ != nullptr && steps / kRound != rounds_) {
        rounds_ = steps / kRound;
        device_.fill(*loop_, loop_rounds_offset(), 1, static_cast<uint8_t>(rounds_));
    }
    auto& graph = steps == 1 ? token_graph_ : burst_graph_;
    if (graph == nullptr) graph = device_.capture([&] { record_steps(1); });
    Flight& flight = flights_[next_flight_++ % flights_.size()];
    flight.draws = steps;
    device_.replay(*graph);
    device_.record(*flight.mark);
    in_flight_ += steps;
    ahead_ = std::max<int64_t>(ahead_ - steps, 0);
}

int32_t Session::next() {
    launch_ahead();
    wait_for_draw();
    return take_draw();
}

void Session::launch_ahead() {
    if (room() < 1) throw_context_full(options_.context);
    if (in_flight_ == 0) launch_steps(1);
    while (in_flight_ - landed_ < kStepsInFlight) {
        const int64_t most = launchable();
        if (most < 1) return;
        const double together = options_.burst_seconds / std::max(token_seconds_, 1e-9);
        const int64_t burst =
            together < 2 ? 0 : static_cast<int64_t>(std::min<double>(together, kBurst));
        launch_steps(std::max<int64_t>(longest_burst(std::min(most, burst)), 1));
    }
}

int64_t Session::launchable() const {
    int64_t most = std::min({ahead_, room() - in_flight_, token_ring_size() - in_flight_, kBurst});
    // A state that is to be kept is that of its position, not a later one.
    while (most > 0 && snapshots_->due(position_, position_ + in_flight_ + most - 1)) --most;
    return most;
}

void Session::wait_for_draw() {
    if (landed_ > 0) return;
    const Flight& flight = flights_[first_flight_++ % flights_.size()];
    device_.wait(*flight.mark);
    landed_ = flight.draws;
    const auto now = std::chrono::steady_clock::now();
    token_seconds_ = std::chrono::duration<double>(now - last_landing_).count() /
                     static_cast<double>(flight.draws);
    last_landing_ = now;
}

int32_t Session::take_draw() {
    --in_flight_;
    --landed_;
    advance(1);
    return drawn_token();
}

void Session::forget_flights() {
    in_flight_ = landed_ = 0;
    first_flight_ = next_flight_;
}

// Takes the draw that was waited for.
int32_t Session::drawn_token() {
    int32_t token = 0;
    std::memcpy(&token,
                ring_.bytes + static_cast<size_t>(drawn_++ % token_ring_size()) * sizeof token,
                sizeof token);
    if (token == kNothingDrawn) throw_number_error();
    tokens_.push_back(token);
    // Behind it launches do nothing.
    if (std::ranges::find(ends_, token) != ends_.end()) {
        ahead_ = 0;
        forget_flights();
    }
    return token;
}

// Gives up draws in flight.
void Session::settle() { rewind(position_); }

// Keys and values behind the context's end do no harm, but recurrent state that has moved beyond it
// is restored from a snapshot and run from there.
void Session::rewind(int64_t end) {
    const int64_t reached = position_ + in_flight_;
    if (in_flight_ > 0) device_.synchronize();
    ahead_ = 0;
    forget_flights();
    position_ = end;
    if (reached == end || !snapshots_->has_state()) return;
    position_ = snapshots_->restore(end);
    run_to(end);
}

}  // namespace hetune
