// NVRTC, hipRTC and comgr, for tests: a shared object with the functions that hetune-worker calls.
// A source "STATUS LOG" makes the compile end with this status and log; any other one compiles.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

struct Outcome {
    int status = 0;
    std::string log;
};

Outcome outcome_of(const std::string& source) {
    char* end = nullptr;
    const long status = std::strtol(source.c_str(), &end, 10);
    if (end == source.c_str() || *end != ' ') return {};
    return {static_cast<int>(status), end + 1};
}

constexpr char kObject[] = "object";

// The first status codes of both, and an internal error.
const char* rtc_status(int status) {
    switch (status) {
        case 0:
            return "SUCCESS";
        case 1:
            return "ERROR_OUT_OF_MEMORY";
        case 6:
            return "ERROR_COMPILATION";
        case 11:
            return "ERROR_INTERNAL_ERROR";
        default:
            return "ERROR_UNKNOWN";
    }
}

struct Program {
    std::string source;
    Outcome outcome = {};
};

int create(void** to, const char* text) {
    *to = new Program{text};
    return 0;
}
int destroy(void** program) {
    delete static_cast<Program*>(*program);
    return 0;
}
int compile(void* program) {
    auto& p = *static_cast<Program*>(program);
    p.outcome = outcome_of(p.source);
    return p.outcome.status;
}
int log_size(void* program, size_t* bytes) {
    *bytes = static_cast<Program*>(program)->outcome.log.size() + 1;
    return 0;
}
int log(void* program, char* to) {
    std::strcpy(to, static_cast<Program*>(program)->outcome.log.c_str());
    return 0;
}
int output_size(size_t* bytes) {
    *bytes = sizeof kObject;
    return 0;
}
int output(char* to) {
    std::memcpy(to, kObject, sizeof kObject);
    return 0;
}

}  // namespace

#define RTC(prefix, code)                                                                     \
    EXPORTED int prefix##Version(int* major, int* minor) {                                    \
        *major = 1;                                                                           \
        *minor = 0;                                                                           \
        return 0;                                                                             \
    }                                                                                         \
    EXPORTED const char* prefix##GetErrorString(int status) { return rtc_status(status); }    \
    EXPORTED int prefix##CreateProgram(void** program, const char* text, const char*, int,    \
                                       const char**, const char**) {                          \
        return create(program, text);                                                         \
    }                                                                                         \
    EXPORTED int prefix##DestroyProgram(void** program) { return destroy(program); }          \
    EXPORTED int prefix##CompileProgram(void* program, int, const char**) {                   \
        return compile(program);                                                              \
    }                                                                                         \
    EXPORTED int prefix##GetProgramLogSize(void* program, size_t* bytes) {                    \
        return log_size(program, bytes);                                                      \
    }                                                                                         \
    EXPORTED int prefix##GetProgramLog(void* program, char* to) { return log(program, to); }  \
    EXPORTED int prefix##Get##code##Size(void*, size_t* bytes) { return output_size(bytes); } \
    EXPORTED int prefix##Get##code(void*, char* to) { return output(to); }

RTC(nvrtc, CUBIN)
RTC(hiprtc, Code)

// comgr: data and sets of data are one thing here, a text and a log.
namespace {

struct Handle {
    uint64_t handle;
};
Program& data(Handle h) { return *reinterpret_cast<Program*>(h.handle); }
int make(Handle* to) {
    to->handle = reinterpret_cast<uint64_t>(new Program);
    return 0;
}
int release(Handle h) {
    delete &data(h);
    return 0;
}
constexpr int kLog = 5;

}  // namespace

EXPORTED void amd_comgr_get_version(size_t* major, size_t* minor) {
    *major = 3;
    *minor = 0;
}
EXPORTED int amd_comgr_status_string(int status, const char** text) {
    constexpr const char* kTexts[] = {"SUCCESS", "ERROR", "INVALID_ARGUMENT", "OUT_OF_RESOURCES"};
    *text = kTexts[status];
    return 0;
}
EXPORTED int amd_comgr_create_data(int, Handle* to) { return make(to); }
EXPORTED int amd_comgr_release_data(Handle h) { return release(h); }
EXPORTED int amd_comgr_set_data(Handle h, size_t bytes, const char* from) {
    data(h).source.assign(from, bytes);
    return 0;
}
EXPORTED int amd_comgr_set_data_name(Handle, const char*) { return 0; }
EXPORTED int amd_comgr_get_data(Handle h, size_t* bytes, char* to) {
    *bytes = data(h).source.size();
    if (to != nullptr) data(h).source.copy(to, *bytes);
    return 0;
}
EXPORTED int amd_comgr_create_data_set(Handle* to) { return make(to); }
EXPORTED int amd_comgr_destroy_data_set(Handle h) { return release(h); }
EXPORTED int amd_comgr_data_set_add(Handle set, Handle h) {
    data(set).source = data(h).source;
    return 0;
}
EXPORTED int amd_comgr_action_data_count(Handle set, int kind, size_t* count) {
    *count = kind == kLog && data(set).outcome.log.empty() ? 0 : 1;
    return 0;
}
EXPORTED int amd_comgr_action_data_get_data(Handle set, int kind, size_t, Handle* to) {
    make(to);
    data(*to).source = kind == kLog ? data(set).outcome.log : kObject;
    return 0;
}
EXPORTED int amd_comgr_create_action_info(Handle* to) { return make(to); }
EXPORTED int amd_comgr_destroy_action_info(Handle h) { return release(h); }
EXPORTED int amd_comgr_action_info_set_isa_name(Handle, const char*) { return 0; }
EXPORTED int amd_comgr_action_info_set_language(Handle, int) { return 0; }
EXPORTED int amd_comgr_action_info_set_option_list(Handle, const char**, size_t) { return 0; }
EXPORTED int amd_comgr_action_info_set_logging(Handle, bool) { return 0; }
EXPORTED int amd_comgr_do_action(int, Handle, Handle input, Handle result) {
    data(result).source = data(input).source;
    data(result).outcome = outcome_of(data(input).source);
    return data(result).outcome.status;
}
