// Many compiles while workers are killed at random (fake_worker.cc).
#include <doctest/doctest.h>
#include <signal.h>

#include <atomic>
#include <random>
#include <thread>

#include "runtime/compile/worker_pool.h"

namespace hetune::testing {
namespace {

TEST_CASE("of 500 compiles, with 5 % of the workers killed at random, none is lost or mixed up") {
    WorkerPool pool({.argv = {HETUNE_FAKE_WORKER, "fake", "library"},
                     .limit = std::chrono::seconds(20),
                     .most = [] { return 4; }});
    constexpr int kCompiles = 500;
    std::atomic<int> next = 0, right = 0, killed = 0;
    {
        std::vector<std::jthread> threads;
        for (unsigned t = 0; t < 8; ++t)
            threads.emplace_back([&, t] {
                std::mt19937 engine(t);
                for (int i = next++; i < kCompiles; i = next++) {
                    if (engine() % 20 == 0)
                        if (const auto pids = pool.running(); !pids.empty()) {
                            kill(pids[engine() % pids.size()], SIGKILL);
                            ++killed;
                        }
                    const std::string source =
                        std::to_string(i) + std::string(engine() % 2000000, 'k');
                    const WorkerMessage answer = pool.call({{{"do", "compile"}}, source});
                    if (answer.body == source) ++right;
                }
            });
    }
    CHECK(right == kCompiles);
    CHECK(killed > 10);
    CHECK(pool.running().size() <= 4);
}

}  // namespace
}  // namespace hetune::testing
