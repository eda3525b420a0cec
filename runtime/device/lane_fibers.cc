#include "runtime/device/lane_fibers.h"

#include <fmt/format.h>
#include <sched.h>

#include <atomic>
#include <boost/context/fiber.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <numbers>
#include <system_error>
#include <thread>
#include <vector>

#include "runtime/device/fiber_sanitizer.h"

namespace hetune {
namespace {

namespace context = boost::context;

constexpr size_t kStackBytes = 128 * 1024;  // of a lane; only touched pages count

// A fiber. It lives as long as its thread, and runs one lane after another until one of them waits
// for others: that one it keeps to its end. So lanes that never meet need no fiber of their own,
// whose two switches took longer than what many a lane does.
struct Fiber {
    context::fiber fiber;
    context::fiber* caller = nullptr;  // inside the fiber: where to go back to
    FiberSanitizer sanitizer;
    HetuneCpuEntry entry = nullptr;
    const unsigned char* args = nullptr;
    HetuneLane* next = nullptr;  // the lanes to run
    HetuneLane* end = nullptr;
    int state = kHetuneDone;
    bool quit = false;

    void run() {
        while (next != end) {
            HetuneLane* lane = next++;
            lane->fiber = this;
            entry(args, lane);
        }
    }
};

void switch_back(Fiber& fiber, int state) {
    fiber.state = state;
    fiber.sanitizer.leave();
    *fiber.caller = std::move(*fiber.caller).resume();
    fiber.sanitizer.entered();
}
// A lane without a fiber is the only one of its group, and meets itself.
void sync(HetuneLane* abi, int kind) {
    if (abi->fiber != nullptr) switch_back(*static_cast<Fiber*>(abi->fiber), kind);
}

// The references for the kernels' elementary functions.
float host_exp2(float x) { return std::exp2(x); }
float host_log2(float x) { return std::log2(x); }
void host_sincos(float turns, float* sine, float* cosine) {
    const double angle = 2 * std::numbers::pi * static_cast<double>(turns);
    *sine = static_cast<float>(std::sin(angle));
    *cosine = static_cast<float>(std::cos(angle));
}
constexpr HetuneHost kHost{kHetuneCpuAbi, sync, host_exp2, host_log2, host_sincos};

struct Launch {
    CpuEntry entry;
    LaunchShape shape;
    const unsigned char* args;
    uint64_t groups;
};

// The lanes of one operating-system thread.
class GroupRunner {
  public:
    ~GroupRunner() {
        for (auto& fiber : fibers_) {
            fiber->quit = true;
            if (fiber->fiber) resume(*fiber);
            fiber->sanitizer.clear_marks();
        }
    }

    // False when lanes disagree; its fibers, which stand somewhere inside the kernel, are then
    // abandoned with their stacks, since nothing can unwind them.
    bool run(const Launch& launch, uint64_t group) {
        if (run_group(launch, group)) return true;
        for (auto& fiber : fibers_) FiberSanitizer::ignore_leak(fiber.release());
        fibers_.clear();
        return false;
    }

  private:
    bool run_group(const Launch& launch, uint64_t group) {
        const uint32_t threads = launch.shape.threads;
        const bool one_lane = launch.entry.first_lane_only && threads == kHetuneLanes;
        prepare(launch, one_lane ? 0 : threads);
        const auto& groups = launch.shape.groups;
        const int at[3] = {static_cast<int>(group % groups[0]),
                           static_cast<int>(group / groups[0] % groups[1]),
                           static_cast<int>(group / groups[0] / groups[1])};
        if (one_lane) {
            std::memcpy(lanes_[0].group, at, sizeof at);
            lanes_[0].parity = lanes_[0].calls = waves_[0].calls = 0;
            lanes_[0].fiber = nullptr;
            launch.entry.call(launch.args, &lanes_[0]);
            return true;
        }
        for (HetuneLane& lane : lanes_) {
            std::memcpy(lane.group, at, sizeof at);
            lane.parity = lane.calls = 0;
        }
        for (bool first = true;; first = false) {
            uint32_t done = 0, waiting = 0;
            for (uint32_t wave = 0; wave < threads; wave += kHetuneLanes) {
                const int state =
                    run_wave(launch, wave, std::min(wave + kHetuneLanes, threads), first);
                if (state < 0) return false;
                ++(state == kHetuneDone ? done : waiting);
            }
            if (waiting == 0) return true;
            if (done != 0) return false;  // some waves wait at a barrier that others never reach
        }
    }

    void prepare(const Launch& launch, uint32_t fibers) {
        const uint32_t threads = launch.shape.threads;
        if (lanes_.size() != threads) {
            lanes_.assign(threads, {});
            waves_.resize((threads + kHetuneLanes - 1) / kHetuneLanes);
            for (uint32_t t = 0; t < threads; ++t) {
                lanes_[t].host = &kHost;
                lanes_[t].wave = &waves_[t / kHetuneLanes];
                lanes_[t].thread = static_cast<int>(t);
            }
        }
        while (fibers_.size() < fibers) add_fiber();
    }

    void add_fiber() {
        fibers_.push_back(std::make_unique<Fiber>());
        Fiber* fiber = fibers_.back().get();
        context::protected_fixedsize_stack stacks(kStackBytes);
        const context::stack_context stack = stacks.allocate();
        fiber->sanitizer.set_stack(static_cast<std::byte*>(stack.sp) - stack.size, stack.size);
        fiber->fiber =
            context::fiber(std::allocator_arg, context::preallocated(stack.sp, stack.size, stack),
                           stacks, [fiber](context::fiber&& caller) {
                               fiber->caller = &caller;
                               fiber->sanitizer.entered();
                               while (!fiber->quit) {
                                   fiber->run();
                                   switch_back(*fiber, kHetuneDone);
                               }
                               fiber->sanitizer.leave_for_good();
                               return std::move(caller);
                           });
    }

    void resume(Fiber& fiber) {
        fiber.sanitizer.enter();
        fiber.fiber = std::move(fiber.fiber).resume();
        fiber.sanitizer.left();
    }

    // Runs a wave up to its next barrier or its end. -1 when its lanes disagree. A lane that has
    // finished may be absent from later exchanges only if all are.
    int run_wave(const Launch& launch, uint32_t begin, uint32_t end, bool first) {
        if (!first && fibers_[begin]->state == kHetuneDone) return kHetuneDone;
        int state = first ? start_wave(launch, begin, end) : resume_wave(begin, end);
        while (state == kHetuneWaveSync) state = resume_wave(begin, end);
        return state;
    }

    // Lets all lanes of a wave go on to where they meet next.
    int resume_wave(uint32_t begin, uint32_t end) {
        waves_[begin / kHetuneLanes].calls = 0;
        int state = 0;
        for (uint32_t t = begin; t < end; ++t) {
            resume(*fibers_[t]);
            if (state != 0 && state != fibers_[t]->state) return -1;
            state = fibers_[t]->state;
        }
        return state;
    }

    // Starts all lanes of a wave: a fiber for each, or one for all where none waits for another.
    int start_wave(const Launch& launch, uint32_t begin, uint32_t end) {
        waves_[begin / kHetuneLanes].calls = 0;
        int state = 0;
        for (uint32_t t = begin; t < end; ++t) {
            Fiber& fiber = *fibers_[t];
            fiber.entry = launch.entry.call;
            fiber.args = launch.args;
            fiber.next = &lanes_[t];
            fiber.end = lanes_.data() + end;
            resume(fiber);
            if (state != 0 && state != fiber.state) return -1;
            state = fiber.state;
            if (state == kHetuneDone) return state;
            if (fiber.next != &lanes_[t] + 1) return -1;  // lanes before it have ended
            fiber.end = fiber.next;
        }
        return state;
    }

    std::vector<std::unique_ptr<Fiber>> fibers_;  // one for each lane of a group
    std::vector<HetuneLane> lanes_;               // of a group
    std::vector<HetuneWave> waves_;
};

int usable_cores() {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return std::max(1, CPU_COUNT(&set));
}

}  // namespace

// One thread waits for a condition that another makes true: it looks for a while, and then sleeps.
// Launches of a decode step follow one another within microseconds, which a sleep and its wake-up
// would multiply; a thread that looked for longer would take a core from others.
class Waiter {
  public:
    // `spins`: whether looking is worth it, that is, whether each thread has a core of its own.
    template <class Condition>
    void wait(bool spins, const Condition& condition) {
        if (spins) {
            const auto start = std::chrono::steady_clock::now();
            do {
                for (int i = 0; i < kLooksBetweenClocks; ++i) {
                    if (condition()) return;
                    __builtin_ia32_pause();
                }
            } while (std::chrono::steady_clock::now() - start < kSpin);
        }
        std::unique_lock lock(mutex_);
        ++sleepers_;
        changed_.wait(lock, condition);
        --sleepers_;
    }
    // Called behind the change. Both sides are sequentially consistent: either the waiter sees the
    // change, or this sees the waiter.
    void wake() {
        if (sleepers_ == 0) return;
        const std::lock_guard lock(mutex_);
        changed_.notify_all();
    }

  private:
    static constexpr int kLooksBetweenClocks = 64;
    static constexpr auto kSpin = std::chrono::microseconds(50);

    std::mutex mutex_;
    std::condition_variable changed_;
    std::atomic<int> sleepers_{0};
};

struct LaneFibers::Impl {
    Launch launch{};
    // Odd while a launch gives its groups away. A worker counts itself into `inside` before it
    // looks, and the launch ends when nobody is inside, so none reads a launch that is gone.
    std::atomic<uint64_t> generation{0};
    std::atomic<int> inside{0};
    std::atomic<bool> quit{false};
    std::atomic<uint64_t> next{0};
    std::atomic<bool> disagreed{false};
    Waiter begun, left;
    bool spins = true;
    GroupRunner own;  // of the thread that calls run
    std::vector<std::jthread> workers;

    void take_groups(GroupRunner& runner, const Launch& work) {
        for (uint64_t group; (group = next.fetch_add(1)) < work.groups;)
            if (!runner.run(work, group)) disagreed = true;
    }
    void worker() {
        GroupRunner runner;
        for (uint64_t seen = 0;;) {
            begun.wait(spins, [&] { return quit || (generation & 1 && generation != seen); });
            if (quit) return;
            ++inside;
            if (const uint64_t now = generation; now & 1) {
                seen = now;
                take_groups(runner, launch);
            }
            if (--inside == 0) left.wake();
        }
    }
};

LaneFibers::LaneFibers(int threads) : impl_(std::make_unique<Impl>()) {
    const int count = threads > 0 ? threads : usable_cores();
    impl_->spins = count <= usable_cores();
    try {
        for (int i = 1; i < count; ++i) impl_->workers.emplace_back([this] { impl_->worker(); });
    } catch (const std::system_error&) {  // `ulimit -u`: fewer threads do the same
    }
}

LaneFibers::~LaneFibers() {
    impl_->quit = true;
    impl_->begun.wake();
}

int LaneFibers::threads() const { return static_cast<int>(impl_->workers.size()) + 1; }

void LaneFibers::run(const CpuEntry& entry, const LaunchShape& shape,
                     std::span<const std::byte> args) {
    const Launch work{entry, shape, reinterpret_cast<const unsigned char*>(args.data()),
                      uint64_t{shape.groups[0]} * shape.groups[1] * shape.groups[2]};
    Impl& impl = *impl_;
    impl.next = 0;
    impl.disagreed = false;
    const bool shared = work.groups > 1 && !impl.workers.empty();
    if (shared) {
        impl.launch = work;
        ++impl.generation;
        impl.begun.wake();
    }
    impl.take_groups(impl.own, work);
    if (shared) {
        ++impl.generation;
        impl.left.wait(impl.spins, [&] { return impl.inside == 0; });
    }
    if (impl.disagreed)
        throw DeviceError(
            "cpu: lanes of a group disagree on the next exchange or barrier: the kernel would hang "
            "a GPU");
}

}  // namespace hetune
