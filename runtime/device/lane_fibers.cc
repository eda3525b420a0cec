#include "runtime/device/lane_fibers.h"

#include <fmt/format.h>
#include <sched.h>

#include <atomic>
#include <boost/context/fiber.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
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

// A lane's fiber. It lives as long as its thread and runs one lane after another.
struct Lane {
    HetuneLane abi{};
    context::fiber fiber;
    context::fiber* caller = nullptr;  // inside the fiber: where to go back to
    FiberSanitizer sanitizer;
    HetuneCpuEntry entry = nullptr;
    const unsigned char* args = nullptr;
    int state = kHetuneDone;
    bool quit = false;
};

void sync(HetuneLane* abi, int kind) {
    Lane& lane = *static_cast<Lane*>(abi->fiber);
    lane.state = kind;
    lane.sanitizer.leave();
    *lane.caller = std::move(*lane.caller).resume();
    lane.sanitizer.entered();
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
    HetuneCpuEntry entry;
    LaunchShape shape;
    const unsigned char* args;
    uint64_t groups;
};

// The lanes of one operating-system thread.
class GroupRunner {
  public:
    ~GroupRunner() {
        for (auto& lane : lanes_) {
            lane->quit = true;
            if (lane->fiber) resume(*lane);
        }
    }

    // False when lanes disagree; its fibers, which stand somewhere inside the kernel, are then
    // abandoned with their stacks, since nothing can unwind them.
    bool run(const Launch& launch, uint64_t group) {
        if (run_group(launch, group)) return true;
        for (auto& lane : lanes_) FiberSanitizer::ignore_leak(lane.release());
        lanes_.clear();
        return false;
    }

  private:
    bool run_group(const Launch& launch, uint64_t group) {
        const uint32_t threads = launch.shape.threads;
        prepare(threads);
        for (uint32_t t = 0; t < threads; ++t) {
            Lane& lane = *lanes_[t];
            lane.entry = launch.entry;
            lane.args = launch.args;
            lane.abi.wave = &waves_[t / kHetuneLanes];
            lane.abi.thread = static_cast<int>(t);
            lane.abi.group[0] = static_cast<int>(group % launch.shape.groups[0]);
            lane.abi.group[1] =
                static_cast<int>(group / launch.shape.groups[0] % launch.shape.groups[1]);
            lane.abi.group[2] =
                static_cast<int>(group / launch.shape.groups[0] / launch.shape.groups[1]);
            lane.abi.parity = 0;
        }
        for (bool first = true;; first = false) {
            uint32_t done = 0, waiting = 0;
            for (uint32_t wave = 0; wave < threads; wave += kHetuneLanes) {
                const int state = run_wave(wave, std::min(wave + kHetuneLanes, threads), first);
                if (state < 0) return false;
                ++(state == kHetuneDone ? done : waiting);
            }
            if (waiting == 0) return true;
            if (done != 0) return false;  // some waves wait at a barrier that others never reach
        }
    }

    void prepare(uint32_t threads) {
        waves_.resize((threads + kHetuneLanes - 1) / kHetuneLanes);
        while (lanes_.size() < threads) {
            lanes_.push_back(std::make_unique<Lane>());
            Lane* lane = lanes_.back().get();
            lane->abi.host = &kHost;
            lane->abi.fiber = lane;
            context::protected_fixedsize_stack stacks(kStackBytes);
            const context::stack_context stack = stacks.allocate();
            lane->sanitizer.set_stack(static_cast<std::byte*>(stack.sp) - stack.size, stack.size);
            lane->fiber = context::fiber(std::allocator_arg,
                                         context::preallocated(stack.sp, stack.size, stack), stacks,
                                         [lane](context::fiber&& caller) {
                                             lane->caller = &caller;
                                             lane->sanitizer.entered();
                                             while (!lane->quit) {
                                                 lane->entry(lane->args, &lane->abi);
                                                 sync(&lane->abi, kHetuneDone);
                                             }
                                             lane->sanitizer.leave_for_good();
                                             return std::move(caller);
                                         });
        }
    }

    void resume(Lane& lane) {
        lane.sanitizer.enter();
        lane.fiber = std::move(lane.fiber).resume();
        lane.sanitizer.left();
    }

    // Runs a wave up to its next barrier or its end. -1 when its lanes disagree. A lane that has
    // finished may be absent from later exchanges only if all are.
    int run_wave(uint32_t begin, uint32_t end, bool first) {
        if (!first && lanes_[begin]->state == kHetuneDone) return kHetuneDone;
        for (;;) {
            int state = 0;
            for (uint32_t t = begin; t < end; ++t) {
                resume(*lanes_[t]);
                if (state != 0 && state != lanes_[t]->state) return -1;
                state = lanes_[t]->state;
            }
            if (state != kHetuneWaveSync) return state;
        }
    }

    std::vector<std::unique_ptr<Lane>> lanes_;
    std::vector<HetuneWave> waves_;
};

int usable_cores() {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return std::max(1, CPU_COUNT(&set));
}

}  // namespace

struct LaneFibers::Impl {
    std::mutex mutex;
    std::condition_variable wake, finished;
    Launch launch{};
    uint64_t generation = 0;
    int busy = 0;
    bool quit = false;
    std::atomic<uint64_t> next{0};
    std::atomic<bool> disagreed{false};
    GroupRunner own;  // of the thread that calls run
    std::vector<std::jthread> workers;

    void take_groups(GroupRunner& runner, const Launch& work) {
        for (uint64_t group; (group = next.fetch_add(1)) < work.groups;)
            if (!runner.run(work, group)) disagreed = true;
    }
    void worker() {
        GroupRunner runner;
        uint64_t seen = 0;
        for (;;) {
            Launch work;
            {
                std::unique_lock lock(mutex);
                wake.wait(lock, [&] { return quit || generation != seen; });
                if (quit) return;
                seen = generation;
                work = launch;
            }
            take_groups(runner, work);
            const std::lock_guard lock(mutex);
            if (--busy == 0) finished.notify_one();
        }
    }
};

LaneFibers::LaneFibers(int threads) : impl_(std::make_unique<Impl>()) {
    const int count = threads > 0 ? threads : usable_cores();
    try {
        for (int i = 1; i < count; ++i) impl_->workers.emplace_back([this] { impl_->worker(); });
    } catch (const std::system_error&) {  // `ulimit -u`: fewer threads do the same
    }
}

LaneFibers::~LaneFibers() {
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->quit = true;
    }
    impl_->wake.notify_all();
}

int LaneFibers::threads() const { return static_cast<int>(impl_->workers.size()) + 1; }

void LaneFibers::run(HetuneCpuEntry entry, const LaunchShape& shape,
                     std::span<const std::byte> args) {
    const Launch work{entry, shape, reinterpret_cast<const unsigned char*>(args.data()),
                      uint64_t{shape.groups[0]} * shape.groups[1] * shape.groups[2]};
    Impl& impl = *impl_;
    impl.next = 0;
    impl.disagreed = false;
    const bool shared = work.groups > 1 && !impl.workers.empty();
    if (shared) {
        const std::lock_guard lock(impl.mutex);
        impl.launch = work;
        ++impl.generation;
        impl.busy = static_cast<int>(impl.workers.size());
        impl.wake.notify_all();
    }
    impl.take_groups(impl.own, work);
    if (shared) {
        std::unique_lock lock(impl.mutex);
        impl.finished.wait(lock, [&] { return impl.busy == 0; });
    }
    if (impl.disagreed)
        throw DeviceError(
            "cpu: lanes of a group disagree on the next exchange or barrier: the kernel would hang "
            "a GPU");
}

}  // namespace hetune
