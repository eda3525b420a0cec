// comgr, AMD's code object manager, without a HIP runtime: source to LLVM bitcode to relocatable to
// executable. Declared after amd_comgr.h of 2.4 and 3.0; enumerators moved between the two.
#include <fmt/format.h>

#include <cstdint>

#include "runtime/compile/worker/library.h"

namespace hetune::worker {
namespace {

// All of comgr's handles are such structs, passed by value.
struct Handle {
    uint64_t handle = 0;
};

struct Numbers {
    int hip;                                                         // amd_comgr_language_t
    int source_to_bc, bc_to_relocatable, relocatable_to_executable;  // amd_comgr_action_kind_t
};
constexpr Numbers kComgr2 = {4, 2, 6, 9};
constexpr Numbers kComgr3 = {3, 2, 4, 7};

constexpr int kActionFailed = 1;  // AMD_COMGR_STATUS_ERROR

enum DataKind { kSource = 1, kLog = 5, kBitcode = 6, kRelocatable = 7, kExecutable = 8 };

struct Functions {
    explicit Functions(const SharedObject& object) {
        object.find(get_version, "amd_comgr_get_version");
        object.find(status_string, "amd_comgr_status_string");
        object.find(create_data, "amd_comgr_create_data");
        object.find(release_data, "amd_comgr_release_data");
        object.find(set_data, "amd_comgr_set_data");
        object.find(set_data_name, "amd_comgr_set_data_name");
        object.find(get_data, "amd_comgr_get_data");
        object.find(create_set, "amd_comgr_create_data_set");
        object.find(destroy_set, "amd_comgr_destroy_data_set");
        object.find(add_to_set, "amd_comgr_data_set_add");
        object.find(data_count, "amd_comgr_action_data_count");
        object.find(data_at, "amd_comgr_action_data_get_data");
        object.find(create_action, "amd_comgr_create_action_info");
        object.find(destroy_action, "amd_comgr_destroy_action_info");
        object.find(set_isa, "amd_comgr_action_info_set_isa_name");
        object.find(set_language, "amd_comgr_action_info_set_language");
        object.find(set_options, "amd_comgr_action_info_set_option_list");
        object.find(set_logging, "amd_comgr_action_info_set_logging");
        object.find(do_action, "amd_comgr_do_action");
    }
    std::string text_of(int status) const {
        const char* text = "unknown status";
        status_string(status, &text);
        return text;
    }
    void check(int status, const char* what) const {
        if (status != 0)
            throw Refused(false, fmt::format("comgr {}: {}", what, text_of(status)), {});
    }

    void (*get_version)(size_t*, size_t*);
    int (*status_string)(int, const char**);
    int (*create_data)(int, Handle*);
    int (*release_data)(Handle);
    int (*set_data)(Handle, size_t, const char*);
    int (*set_data_name)(Handle, const char*);
    int (*get_data)(Handle, size_t*, char*);
    int (*create_set)(Handle*);
    int (*destroy_set)(Handle);
    int (*add_to_set)(Handle, Handle);
    int (*data_count)(Handle, int, size_t*);
    int (*data_at)(Handle, int, size_t, Handle*);
    int (*create_action)(Handle*);
    int (*destroy_action)(Handle);
    int (*set_isa)(Handle, const char*);
    int (*set_language)(Handle, int);
    int (*set_options)(Handle, const char**, size_t);
    int (*set_logging)(Handle, bool);
    int (*do_action)(int, Handle, Handle, Handle);
};

class DataSet {
  public:
    explicit DataSet(const Functions& comgr) : comgr_(comgr) {
        comgr_.check(comgr_.create_set(&set_), "create_data_set");
    }
    ~DataSet() { comgr_.destroy_set(set_); }
    DataSet(const DataSet&) = delete;
    DataSet& operator=(const DataSet&) = delete;
    Handle handle() const { return set_; }

    void add(int kind, const std::string& name, const std::string& text) {
        Handle data;
        comgr_.check(comgr_.create_data(kind, &data), "create_data");
        comgr_.check(comgr_.set_data(data, text.size(), text.data()), "set_data");
        comgr_.check(comgr_.set_data_name(data, name.c_str()), "set_data_name");
        comgr_.check(comgr_.add_to_set(set_, data), "data_set_add");
        comgr_.release_data(data);
    }

    // The first of a kind; empty when there is none.
    std::string get(int kind) const {
        size_t count = 0, bytes = 0;
        if (comgr_.data_count(set_, kind, &count) != 0 || count == 0) return {};
        Handle data;
        comgr_.check(comgr_.data_at(set_, kind, 0, &data), "action_data_get_data");
        std::string text;
        if (comgr_.get_data(data, &bytes, nullptr) == 0) {
            text.resize(bytes);
            comgr_.get_data(data, &bytes, text.data());
        }
        comgr_.release_data(data);
        return text;
    }

  private:
    const Functions& comgr_;
    Handle set_;
};

// What an action needs besides its input.
class Action {
  public:
    Action(const Functions& comgr, const std::string& arch, int language,
           const std::vector<std::string>& options)
        : comgr_(comgr) {
        comgr_.check(comgr_.create_action(&info_), "create_action_info");
        comgr_.check(comgr_.set_isa(info_, ("amdgcn-amd-amdhsa--" + arch).c_str()),
                     ("isa " + arch).c_str());
        if (language >= 0) comgr_.check(comgr_.set_language(info_, language), "set_language");
        std::vector<const char*> list;
        for (const std::string& option : options) list.push_back(option.c_str());
        comgr_.check(comgr_.set_options(info_, list.data(), list.size()), "set_option_list");
        comgr_.check(comgr_.set_logging(info_, true), "set_logging");
    }
    ~Action() { comgr_.destroy_action(info_); }
    Action(const Action&) = delete;
    Action& operator=(const Action&) = delete;

    // Throws Refused with the action's log.
    void run(int kind, const DataSet& input, const DataSet& output, std::string& log) const {
        const int status = comgr_.do_action(kind, info_, input.handle(), output.handle());
        const std::string said = output.get(kLog);
        log += said;
        if (status == 0) return;
        const std::string line = first_error(said), what = "comgr: " + comgr_.text_of(status);
        throw Refused(status == kActionFailed,
                      line.empty()              ? what
                      : status == kActionFailed ? line
                                                : what + ": " + line,
                      log);
    }

  private:
    const Functions& comgr_;
    Handle info_;
};

class Comgr final : public Library {
  public:
    explicit Comgr(const std::string& path) : object_(path), comgr_(object_) {
        comgr_.get_version(&major_, &minor_);
        if (major_ != 2 && major_ != 3)
            throw std::runtime_error(fmt::format("comgr {}.{} is not known", major_, minor_));
        numbers_ = major_ == 2 ? kComgr2 : kComgr3;
    }

    std::string version() override { return fmt::format("{}.{}", major_, minor_); }

    Compiled compile(const Source& source) override {
        DataSet text(comgr_), bitcode(comgr_), relocatable(comgr_), executable(comgr_);
        Compiled result;
        text.add(kSource, source.entry + ".hip", source.text);
        const Action front(comgr_, source.arch, numbers_.hip, source.options);
        front.run(numbers_.source_to_bc, text, bitcode, result.log);
        const Action back(comgr_, source.arch, -1, {"-O3", "-mcode-object-version=5"});
        back.run(numbers_.bc_to_relocatable, bitcode, relocatable, result.log);
        const Action link(comgr_, source.arch, -1, {});
        link.run(numbers_.relocatable_to_executable, relocatable, executable, result.log);
        result.object = executable.get(kExecutable);
        return result;
    }

  private:
    SharedObject object_;
    Functions comgr_;
    size_t major_ = 0, minor_ = 0;
    Numbers numbers_{};
};

const RegisterLibrary kComgr{
    {"comgr", [](const std::string& path) { return std::make_unique<Comgr>(path); }}};

}  // namespace
}  // namespace hetune::worker
