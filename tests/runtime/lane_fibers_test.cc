#include "runtime/device/lane_fibers.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

namespace hetune {
namespace {

// Kernels written by hand against cpu_abi.h: their one argument is a pointer.
template <class T>
T* argument(const unsigned char* args) {
    T* pointer;
    std::memcpy(&pointer, args, sizeof pointer);
    return pointer;
}
void run(LaneFibers& lanes, HetuneCpuEntry entry, const LaunchShape& shape, void* data) {
    lanes.run({.call = entry}, shape, std::as_bytes(std::span(&data, 1)));
}

struct Visit {
    int group[3];
    int thread;
};
void visit(const unsigned char* args, HetuneLane* lane) {
    Visit* all = argument<Visit>(args);
    const int* g = lane->group;
    all[((g[2] * 2 + g[1]) * 3 + g[0]) * 40 + lane->thread] = {{g[0], g[1], g[2]}, lane->thread};
}

// Each lane hands its number round the wave, then the first lane of each wave to the group.
void sum_of_group(const unsigned char* args, HetuneLane* lane) {
    static thread_local unsigned long long lds[32];
    const int wave = lane->thread / kHetuneLanes, in_wave = lane->thread % kHetuneLanes;
    unsigned long long* slots = lane->wave->slots[lane->parity];
    lane->parity ^= 1;
    slots[in_wave] = static_cast<unsigned long long>(lane->thread);
    lane->host->sync(lane, kHetuneWaveSync);
    unsigned long long sum = 0;
    for (int i = 0; i < kHetuneLanes; ++i) sum += slots[i];
    if (in_wave == 0) lds[wave] = sum;
    lane->host->sync(lane, kHetuneBarrier);
    if (lane->thread == 0) {
        for (int w = 1; w < 4; ++w) sum += lds[w];
        argument<unsigned long long>(args)[lane->group[0]] = sum;
    }
}

void half_meets_at_a_barrier(const unsigned char* args, HetuneLane* lane) {
    ++*argument<std::atomic<int>>(args);
    if (lane->thread % 2 == 0) lane->host->sync(lane, kHetuneBarrier);
}
void one_wave_meets_at_a_barrier(const unsigned char*, HetuneLane* lane) {
    if (lane->thread < kHetuneLanes) lane->host->sync(lane, kHetuneBarrier);
}
void deep_stack(const unsigned char* args, HetuneLane* lane) {
    volatile unsigned char local[64 * 1024];
    std::memset(const_cast<unsigned char*>(local), lane->thread, sizeof local);
    lane->host->sync(lane, kHetuneWaveSync);
    if (local[77] == static_cast<unsigned char>(lane->thread)) ++*argument<std::atomic<int>>(args);
}

}  // namespace

TEST_CASE("Every lane of every group runs once, with its own numbers") {
    for (const int threads : {1, 2, 5}) {
        LaneFibers lanes(threads);
        CHECK(lanes.threads() == threads);
        std::vector<Visit> all(4 * 2 * 3 * 40, Visit{{-1, -1, -1}, -1});
        run(lanes, visit, {.groups = {3, 2, 4}, .threads = 40}, all.data());
        for (int i = 0; i < static_cast<int>(all.size()); ++i) {
            const Visit& v = all[static_cast<size_t>(i)];
            REQUIRE(v.thread == i % 40);
            REQUIRE(v.group[0] == i / 40 % 3);
            REQUIRE(v.group[1] == i / 120 % 2);
            REQUIRE(v.group[2] == i / 240);
        }
    }
}

TEST_CASE("Waves exchange and groups meet at barriers, launch after launch, with changing sizes") {
    LaneFibers lanes(3);
    for (int repeat = 0; repeat < 20; ++repeat) {
        std::vector<unsigned long long> sums(17);
        run(lanes, sum_of_group, {.groups = {17, 1, 1}, .threads = 128}, sums.data());
        for (const unsigned long long sum : sums) REQUIRE(sum == 127 * 128 / 2);
        std::vector<Visit> all(40);
        run(lanes, visit, {.threads = 40}, all.data());
        REQUIRE(all[39].thread == 39);
    }
}

TEST_CASE("Lanes that disagree on a barrier are an error, and the next launch works") {
    LaneFibers lanes(2);
    std::atomic<int> started{0};
    CHECK_THROWS_WITH_AS(
        run(lanes, half_meets_at_a_barrier, {.groups = {4, 1, 1}, .threads = 32}, &started),
        doctest::Contains("disagree"), DeviceError);
    CHECK(started == 4 * 3);  // the third lane of each group waits where the second has ended
    CHECK_THROWS_AS(run(lanes, one_wave_meets_at_a_barrier, {.threads = 64}, &started),
                    DeviceError);
    unsigned long long sum = 0;
    run(lanes, sum_of_group, {.threads = 128}, &sum);
    CHECK(sum == 127 * 128 / 2);
}

TEST_CASE("A lane has 64 KiB of stack and more") {
    LaneFibers lanes(1);
    std::atomic<int> right{0};
    run(lanes, deep_stack, {.threads = 64}, &right);
    CHECK(right == 64);
}

TEST_CASE("A kernel of first lanes runs those of groups of one wave alone, and meets nobody") {
    LaneFibers lanes(2);
    std::atomic<int> started{0};
    std::atomic<int>* const data = &started;
    const auto count = [&](uint32_t threads) {
        started = 0;
        lanes.run({.call = half_meets_at_a_barrier, .first_lane_only = true},
                  {.groups = {50, 1, 1}, .threads = threads}, std::as_bytes(std::span(&data, 1)));
        return started.load();
    };
    CHECK(count(32) == 50);
    // Larger groups have all their lanes, which here disagree.
    CHECK_THROWS_AS(count(64), DeviceError);
    CHECK(count(32) == 50);
}

TEST_CASE("Launches of many sizes and pauses lose no group, with more threads than cores, too") {
    for (const int threads : {2, 3, 64}) {
        LaneFibers lanes(threads);
        for (int repeat = 0; repeat < 300; ++repeat) {
            // Pauses beyond the time that a thread looks for work before it sleeps.
            if (repeat % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
            const uint32_t layers = static_cast<uint32_t>(repeat % 7 + 1);
            std::vector<Visit> all(layers * size_t{240}, Visit{{-1, -1, -1}, -1});
            run(lanes, visit, {.groups = {3, 2, layers}, .threads = 32}, all.data());
            size_t visited = 0;
            for (const Visit& v : all) visited += v.thread >= 0;
            REQUIRE(visited == layers * size_t{6 * 32});
        }
    }
}

TEST_CASE("No group, no work") {
    LaneFibers lanes(2);
    run(lanes, half_meets_at_a_barrier, {.groups = {0, 1, 1}, .threads = 32}, nullptr);
}

}  // namespace hetune
