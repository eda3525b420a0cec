// NVRTC and hipRTC: the latter took over the former's functions, signatures and first status codes
// (nvrtc.h of CUDA 11.1 to 13, hip/hiprtc.h of ROCm 5 to 7). In Debian's ROCm 5.x hipRTC is inside
// libamdhip64.so.5.
#include <fmt/format.h>

#include "runtime/compile/worker/library.h"

namespace hetune::worker {
namespace {

// NVRTC_ERROR_COMPILATION, HIPRTC_ERROR_COMPILATION.
constexpr int kCompilationFailed = 6;

class Rtc final : public Library {
  public:
    // `prefix` is "nvrtc" or "hiprtc"; `output` "CUBIN" or "Code".
    Rtc(const std::string& path, const std::string& prefix, const std::string& output)
        : object_(path), prefix_(prefix) {
        auto find = [&](auto& function, const std::string& name) {
            object_.find(function, (prefix + name).c_str());
        };
        find(version_, "Version");
        find(error_string_, "GetErrorString");
        find(create_, "CreateProgram");
        find(destroy_, "DestroyProgram");
        find(compile_, "CompileProgram");
        find(log_size_, "GetProgramLogSize");
        find(log_, "GetProgramLog");
        find(output_size_, "Get" + output + "Size");
        find(output_, "Get" + output);
    }

    std::string version() override {
        int major = 0, minor = 0;
        check(version_(&major, &minor), "Version");
        return fmt::format("{}.{}", major, minor);
    }

    Compiled compile(const Source& source) override {
        void* program = nullptr;
        check(create_(&program, source.text.c_str(), source.entry.c_str(), 0, nullptr, nullptr),
              "CreateProgram");
        const std::unique_ptr<void*, decltype(destroy_)> owner(&program, destroy_);
        std::vector<const char*> options;
        for (const std::string& option : source.options) options.push_back(option.c_str());
        const int status = compile_(program, static_cast<int>(options.size()), options.data());

        Compiled result;
        size_t bytes = 0;
        if (log_size_(program, &bytes) == 0 && bytes > 1) {
            result.log.resize(bytes);
            log_(program, result.log.data());
            result.log.resize(bytes - 1);  // its zero
        }
        if (status != 0) {
            const std::string what = error_string_(status);
            throw Refused(status == kCompilationFailed,
                          result.log.empty()             ? what
                          : status == kCompilationFailed ? first_error(result.log)
                                                         : what + ": " + first_error(result.log),
                          result.log);
        }
        check(output_size_(program, &bytes), "output size");
        result.object.resize(bytes);
        check(output_(program, result.object.data()), "output");
        return result;
    }

  private:
    void check(int status, const char* what) const {
        if (status != 0)
            throw Refused(false, fmt::format("{} {}: {}", prefix_, what, error_string_(status)),
                          {});
    }

    SharedObject object_;
    std::string prefix_;
    int (*version_)(int*, int*);
    const char* (*error_string_)(int);
    int (*create_)(void**, const char* text, const char* name, int, const char**, const char**);
    int (*destroy_)(void**);
    int (*compile_)(void*, int, const char**);
    int (*log_size_)(void*, size_t*);
    int (*log_)(void*, char*);
    int (*output_size_)(void*, size_t*);
    int (*output_)(void*, char*);
};

const RegisterLibrary kNvrtc{{"nvrtc", [](const std::string& path) {
                                  return std::make_unique<Rtc>(path, "nvrtc", "CUBIN");
                              }}};
const RegisterLibrary kHiprtc{{"hiprtc", [](const std::string& path) {
                                   return std::make_unique<Rtc>(path, "hiprtc", "Code");
                               }}};

}  // namespace
}  // namespace hetune::worker
