// Handles of a driver, given back when their owner goes.
#pragma once

#include <functional>
#include <memory>

#include "runtime/device/gpu/gpu_api.h"

namespace hetune {

struct GpuContext {
    GpuApi api;
    std::function<int()> make_current;
};

// Gives a handle back to the driver, on whatever thread that happens. A failure means that the
// device is lost, and with it what the handle stood for.
struct Release {
    const GpuContext* context;
    DriverCall<int(void*)> call;
    void operator()(void* handle) const {
        context->make_current();
        call(handle);
    }
};
using Handle = std::unique_ptr<void, Release>;

template <class Create, class... Args>
Handle made_handle(const GpuContext& context, const Create& create,
                   const DriverCall<int(void*)>& release, Args... args) {
    void* handle = nullptr;
    gpu_check(context.api, create(&handle, args...), create.name);
    return Handle(handle, Release{&context, release});
}

}  // namespace hetune
