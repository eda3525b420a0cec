// Which earlier states a session can go back to.
#include "runtime/engine/state_snapshots.h"

#include <doctest/doctest.h>

#include "runtime/device/cpu_device.h"

namespace hetune {
namespace {

struct Kept {
    std::unique_ptr<Device> device = open_cpu_device(1);
    static constexpr size_t kOffset = 4, kBytes = 8;
    std::unique_ptr<Buffer> buffer = device->allocate(kOffset + kBytes + 4);
    StateSnapshots snapshots;

    explicit Kept(int count, int64_t context = 1000)
        : snapshots(*device, {buffer.get(), kOffset, kBytes}, count, context) {
        device->fill(*buffer, 0, buffer->bytes(), kOther);
    }
    static constexpr uint8_t kOther = 77;  // around the state
    void set(uint8_t value) { device->fill(*buffer, kOffset, kBytes, value); }
    std::pair<int, int> get() const {
        std::byte all[kOffset + kBytes + 4];
        device->download(all, *buffer, 0);
        CHECK(std::to_integer<int>(all[kOffset - 1]) == kOther);
        CHECK(std::to_integer<int>(all[kOffset + kBytes]) == kOther);
        return {std::to_integer<int>(all[kOffset]),
                std::to_integer<int>(all[kOffset + kBytes - 1])};
    }
    void keep(int64_t position) {
        set(static_cast<uint8_t>(position));
        snapshots.keep(position);
    }
};

TEST_CASE("the nearest kept state is restored, and later ones are given up") {
    Kept kept(3);
    for (const int64_t position : {10, 20, 30}) kept.keep(position);
    kept.set(99);
    CHECK(kept.snapshots.restore(29) == 20);
    CHECK(kept.get() == std::pair(20, 20));
    CHECK(kept.snapshots.positions() == std::vector<int64_t>{10, 20});
    CHECK(kept.snapshots.restore(20) == 20);
    CHECK(kept.snapshots.restore(9) == 0);
    CHECK(kept.get() == std::pair(0, 0));
}

TEST_CASE("a full store gives up the copy that leaves the shortest gap, never the last") {
    Kept kept(3);
    for (const int64_t position : {100, 110, 300, 310}) kept.keep(position);
    CHECK(kept.snapshots.positions() == std::vector<int64_t>{110, 300, 310});
    kept.keep(600);
    CHECK(kept.snapshots.positions() == std::vector<int64_t>{110, 310, 600});
    kept.set(0);
    CHECK(kept.snapshots.restore(500) == 310);
    CHECK(kept.get() == std::pair(310 % 256, 310 % 256));
}

TEST_CASE("states are due at even distances over the context, and kept once for a position") {
    Kept kept(3, 400);
    CHECK(kept.snapshots.due(99, 100));
    CHECK(kept.snapshots.due(150, 214));
    CHECK_FALSE(kept.snapshots.due(100, 199));
    kept.keep(50);
    kept.keep(50);
    CHECK(kept.snapshots.positions() == std::vector<int64_t>{50});
}

TEST_CASE(
    "without room for a copy the state goes back to empty, and without a state nothing is kept") {
    Kept kept(0);
    kept.keep(10);
    CHECK(kept.snapshots.positions().empty());
    CHECK_FALSE(kept.snapshots.due(0, 1000));
    CHECK(kept.snapshots.restore(10) == 0);
    CHECK(kept.get() == std::pair(0, 0));
    StateSnapshots none(*kept.device, {}, 4, 1000);
    CHECK_FALSE(none.has_state());
    none.keep(10);
    CHECK(none.positions().empty());
}

}  // namespace
}  // namespace hetune
