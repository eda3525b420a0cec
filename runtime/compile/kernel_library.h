// From specs to code objects, through the cache: compiles only what the store lacks, with as many
// compilers at once as there are cores.
#pragma once

#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cache/code_store.h"
#include "kernel_templates/catalogue.h"
#include "runtime/compile/compiler.h"
#include "runtime/compile/disassembly.h"

namespace hetune {

// A kernel as a library knows it, rendered once. Immutable.
struct PreparedKernel {
    KernelSpec spec;
    std::string source;
    CacheKey key;  // of the object that the library's compiler makes of it
};

class KernelLibrary {
  public:
    struct Statistics {
        int rendered = 0;
        int cached = 0;
        int compiled = 0;
        double compile_ms = 0;  // of the compiled ones, summed over processes
    };
    using Progress = std::function<void(size_t done, size_t total)>;

    // `store` outlives the library. Where no compiler for the arch is here, one whose objects the
    // store holds stands in its place (absent_compiler.h): of several the one that made most of the
    // specs that are asked for first, of equals the newest. Throws CompileError{kNoCompiler} when
    // there is none either.
    KernelLibrary(const Arch& arch, CodeStore& store, Environment environment,
                  std::string_view forced_compiler = {}, int jobs = 0);

    // Asked before, while and between kernels are compiled, by any thread. Where the answer is
    // true, compilers that work are ended, none is started, and what asked for a kernel that is not
    // in the store gets CompileError{kGivenUp}. Not to be set while a call is in progress.
    void give_up_when(std::function<bool()> given_up) { given_up_ = std::move(given_up); }

    // Called for each kernel that was compiled, by any thread, but only by one at a time.
    void when_compiled(std::function<void(const KernelSpec& spec)> compiled) {
        compiled_ = std::move(compiled);
    }

    // `arguments` are the file and options with which `hetune prewarm` makes the kernels of this
    // library's model. The message that lists missing kernels shows them.
    void name_model(std::string arguments) { model_ = std::move(arguments); }

    // In the order of `specs`. Throws the first CompileError, when all compiles have ended; what
    // did compile is in the store by then. With Environment::no_jit it lists what is missing.
    std::vector<CodeObject> get(const std::vector<KernelSpec>& specs,
                                const Progress& progress = {});

    // The same for who has other kernels to fall back on: a kernel that cannot be made has a reason
    // instead of an object. Reasons that the compiler itself gave are kept beside the objects,
    // under the kernel's key; where `retry` they are not asked. A crash refuses the kernel for this
    // call only. Throws CompileError for every other cause (CompileError::Cause), when all compiles
    // have ended.
    struct Made {
        CodeObject code;
        std::string refused;      // empty: it was made
        bool remembered = false;  // the reason is of an earlier time
    };
    std::vector<Made> make(const std::vector<KernelSpec>& specs, bool retry,
                           const Progress& progress = {});
    // What is known of these code objects of the library's arch and may travel, for a bundle.
    std::vector<Fact> good_facts(const std::vector<KernelSpec>& specs);
    // Says to who may not compile that a bundle was made without this kernel. No refusal: a machine
    // with a compiler tries for itself.
    Fact left_out(const KernelSpec& spec, const std::string& why) const;
    // Why an earlier make() could not; empty: it is not known that it cannot.
    std::optional<std::string> known_refusal(const KernelSpec& spec);

    // Those that get() would compile, in the same order.
    std::vector<KernelSpec> missing(const std::vector<KernelSpec>& specs);

    // Of those that are missing(), how many the store has by another build of the compiler, and by
    // which; as text for a person, empty where there are none.
    std::string other_builds(const std::vector<KernelSpec>& missing);

    // Renders the kernel, or gives what an earlier call rendered. prepare(), source(), key() and
    // key_parts() are thread-safe.
    std::shared_ptr<const PreparedKernel> prepare(const KernelSpec& spec) const;
    std::string source(const KernelSpec& spec) const { return prepare(spec)->source; }
    // The key names the object that this library takes for `spec`. Where the object of another
    // build of the compiler was found in its place, the key is that of the other build.
    CacheKey key(const KernelSpec& spec) const { return key(*prepare(spec)); }
    CacheKey key(const PreparedKernel& kernel) const;
    KeyParts key_parts(const PreparedKernel& kernel) const;
    const Arch& arch() const { return arch_; }
    Compiler& compiler() { return *compiler_; }
    CodeStore& store() { return store_; }
    const Statistics& statistics() const { return statistics_; }

  private:
    struct Attempt {
        CodeObject code;
        std::exception_ptr failure;
    };
    // Chooses among the absent compilers, once.
    void settle(const std::vector<KernelSpec>& specs);
    void use(std::unique_ptr<Compiler> compiler);

    using Prepared = std::vector<std::shared_ptr<const PreparedKernel>>;
    Prepared prepare_all(const std::vector<KernelSpec>& specs);
    // What the store has is taken; the rest is compiled unless `skip` says why not.
    std::vector<Attempt> attempt(const Prepared& kernels, const Progress& progress,
                                 const std::function<bool(const CacheKey&, size_t)>& skip);
    CodeObject compile(const PreparedKernel& kernel);
    void check_given_up(const KernelSpec& spec) const;
    CacheKey own_key(const std::string& source) const;
    std::optional<CodeObject> find_other_build(const PreparedKernel& kernel);
    std::string other_builds(const Prepared& missing);
    FactKey refusal(const CacheKey& key) const;
    std::optional<std::string> known_refusal(const CacheKey& key, bool left_out);
    std::optional<std::string> reason(const FactKey& key);
    FactKey instruction_count(const CodeObject& code) const;
    void check_instructions(const KernelSpec& spec, const CodeObject& code);

    Arch arch_;
    CodeStore& store_;
    Environment environment_;
    TemplateSources templates_;
    std::vector<std::unique_ptr<Compiler>> absent_;  // until one of them is chosen
    std::unique_ptr<Compiler> compiler_;
    std::once_flag disassembler_once_;
    std::unique_ptr<Disassembler> disassembler_;  // from the first compile on, where there is LLVM
    bool has_compiler_ = true;  // else one that made objects of the cache and is not here
    std::string options_;
    int jobs_;
    std::function<bool()> given_up_;
    std::function<void(const KernelSpec&)> compiled_;
    std::string model_ = "FILE";
    std::map<CacheKey, CacheKey> other_builds_;  // own key -> key of the object in its place
    mutable std::mutex preparing_;               // guards prepared_ and statistics_.rendered
    mutable std::map<KernelSpec, std::shared_ptr<const PreparedKernel>> prepared_;
    mutable Statistics statistics_;
};

// What facts about a code object go by.
CacheKey hash_of(const CodeObject& code);

// The static gates: no spill, no scratch, LDS within the arch. Throws CompileError{kGate}.
void check_resources(const CodeObject& code, const Arch& arch);

}  // namespace hetune
