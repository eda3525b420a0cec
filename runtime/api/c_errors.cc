#include <exception>

#include "runtime/api/c_handles.h"

namespace hetune {
namespace {

template <class Error>
bool is(const std::exception* error) {
    return dynamic_cast<const Error*>(error) != nullptr;
}

struct ErrorKind {
    hetune_status status;
    const char* name;
    bool (*is)(const std::exception* error);
};

// Derived classes in front of their bases; each exception is of the first kind that it is.
constexpr ErrorKind kErrorKinds[] = {
    {HETUNE_OPTION_ERROR, "OptionError", is<OptionError>},
    {HETUNE_CONTEXT_ERROR, "ContextError", is<ContextError>},
    {HETUNE_REQUEST_ERROR, "RequestError", is<RequestError>},
    {HETUNE_OVERLOADED, "Overloaded", is<Overloaded>},
    {HETUNE_DEVICE_LOST, "DeviceLost", is<DeviceLost>},
    {HETUNE_DEVICE_ERROR, "DeviceError", is<DeviceError>},
    {HETUNE_MODEL_ERROR, "ModelError", is<ModelError>},
    {HETUNE_MEMORY_ERROR, "MemoryError", is<MemoryError>},
    {HETUNE_COMPILE_ERROR, "CompileError", is<CompileError>},
    {HETUNE_NUMBER_ERROR, "NumberError", is<NumberError>},
    {HETUNE_LOAD_CANCELLED, "LoadCancelled", is<LoadCancelled>},
    {HETUNE_CALL_CANCELLED, "CallCancelled", is<CallCancelled>},
    {HETUNE_OTHER_ERROR, "error", is<std::exception>},
};

struct LastError {
    std::string text, log;
    // Where there is no memory for `text`.
    const char* shown = "";

    void keep(const char* message) noexcept {
        log.clear();
        try {
            text = message;
            shown = text.c_str();
        } catch (...) {
            shown = "the host has no memory left, not even for the text of an error";
        }
    }
    void keep_log(const std::string& said) noexcept {
        try {
            log = said;
        } catch (...) {
        }
    }
};
thread_local LastError last_error;

}  // namespace

hetune_status keep_current_exception() noexcept {
    try {
        throw;
    } catch (const std::bad_alloc&) {
        last_error.keep("the host has no memory left");
        return HETUNE_MEMORY_ERROR;
    } catch (const std::exception& error) {
        last_error.keep(error.what());
        if (const auto* compile = dynamic_cast<const CompileError*>(&error))
            last_error.keep_log(compile->log());
        for (const ErrorKind& kind : kErrorKinds)
            if (kind.is(&error)) return kind.status;
    } catch (...) {
        last_error.keep("a callback threw what is no std::exception");
    }
    return HETUNE_OTHER_ERROR;
}

}  // namespace hetune

const char* hetune_status_name(int status) {
    if (status == HETUNE_OK) return "ok";
    for (const hetune::ErrorKind& kind : hetune::kErrorKinds)
        if (kind.status == status) return kind.name;
    return "unknown";
}

const char* hetune_last_error(void) { return hetune::last_error.shown; }
const char* hetune_last_error_log(void) { return hetune::last_error.log.c_str(); }
