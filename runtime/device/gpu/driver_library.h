// A driver's library, opened at run time.
#pragma once

#include <string>
#include <vector>

#include "runtime/device/gpu/gpu_api.h"

namespace hetune {

class DriverLibrary {
  public:
    // Opens the first of `files` that can be, for good: drivers do not survive being unloaded.
    // Throws DeviceError with `install` when there is none, and with the loader's reason for a
    // file that exists and is broken.
    DriverLibrary(const std::vector<std::string>& files, const std::string& install);

    const std::string& file() const { return file_; }

    // Fills in `call`; a symbol that is absent is remembered for require_all.
    template <class Signature>
    void find(DriverCall<Signature>& call, const char* symbol) {
        call = {symbol, reinterpret_cast<Signature*>(address(symbol))};
        if (call.function == nullptr) missing_.push_back(symbol);
    }
    // Likewise for a function that has another return type; null when absent.
    template <class Signature>
    Signature* optional(const char* symbol) const {
        return reinterpret_cast<Signature*>(address(symbol));
    }
    // Throws DeviceError naming what find did not find and the version that has it.
    void require_all(const std::string& needed_version) const;

  private:
    void* address(const char* symbol) const;

    void* handle_ = nullptr;
    std::string file_;
    std::vector<std::string> missing_;
};

}  // namespace hetune
