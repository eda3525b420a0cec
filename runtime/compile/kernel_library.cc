#include "runtime/compile/kernel_library.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "cache/error.h"
#include "cache/json_text.h"
#include "runtime/compile/absent_compiler.h"
#include "runtime/compile/first_exception.h"

namespace hetune {
namespace {

// A rendered source, taken apart along its #line marks, so that `hetune cache why` can name the
// included file that changed. The constants, which have parts of their own, are not in it.
std::map<std::string, std::string> lines_by_file(const std::string& source) {
    std::map<std::string, std::string> files;
    std::string* file = nullptr;
    for (size_t at = 0; at < source.size();) {
        const size_t end = std::min(source.find('\n', at), source.size());
        const std::string_view line(source.data() + at, end - at);
        at = end + 1;
        const size_t from = line.find('"');
        if (line.starts_with("#line ") && from != std::string_view::npos && line.ends_with('"'))
            file = &files[std::string(line.substr(from + 1, line.size() - from - 2))];
        else if (file != nullptr)
            file->append(line).push_back('\n');
    }
    files.erase(kConstantsFile);
    return files;
}

// More than the plans of any model have (57 for 35B-A3B). A tuner, which tries thousands, must not
// keep them all: a source has some 40 KB.
constexpr size_t kKept = 512;

std::string text_of(const nlohmann::ordered_json& json) {
    return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace

CacheKey hash_of(const CodeObject& code) {
    return content_hash(code.bytes.data(), code.bytes.size());
}

KernelLibrary::KernelLibrary(const Arch& arch, CodeStore& store, Environment environment,
                             std::string_view forced_compiler, int jobs)
    : arch_(arch),
      store_(store),
      environment_(std::move(environment)),
      templates_(environment_.template_dir),
      jobs_(jobs > 0 ? jobs : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()))) {
    try {
        use(choose_compiler(arch, environment_, forced_compiler));
    } catch (const CompileError& error) {
        if (error.cause() != CompileError::Cause::kNoCompiler) throw;
        for (const CodeStore::MadeBy& made_by : store.compilers(arch.name))
            if (made_by.compiler.starts_with(std::string(forced_compiler)))
                absent_.push_back(
                    make_absent_compiler(made_by.compiler, made_by.options, error.what()));
        if (absent_.empty()) throw;
        has_compiler_ = false;
        use(make_absent_compiler(absent_[0]->identity(), absent_[0]->options(arch_)[0],
                                 error.what()));
    }
}

void KernelLibrary::use(std::unique_ptr<Compiler> compiler) {
    compiler_ = std::move(compiler);
    options_ = fmt::format("{}", fmt::join(compiler_->options(arch_), " "));
    for (auto& [spec, kernel] : prepared_)
        kernel =
            std::make_shared<PreparedKernel>(kernel->spec, kernel->source, own_key(kernel->source));
}

void KernelLibrary::settle(const std::vector<KernelSpec>& specs) {
    size_t most = 0;
    for (std::unique_ptr<Compiler>& candidate : std::exchange(absent_, {})) {
        std::swap(candidate, compiler_);
        use(std::move(compiler_));
        const auto found =
            static_cast<size_t>(std::ranges::count_if(specs, [&](const KernelSpec& spec) {
                return store_.find_here(key(spec)).has_value();
            }));
        if (found > most)
            most = found;
        else
            use(std::move(candidate));
    }
}

std::shared_ptr<const PreparedKernel> KernelLibrary::prepare(const KernelSpec& spec) const {
    {
        const std::lock_guard lock(preparing_);
        if (const auto known = prepared_.find(spec); known != prepared_.end()) return known->second;
    }
    auto kernel =
        std::make_shared<PreparedKernel>(spec, templates_.render(spec, arch_.family), CacheKey{});
    kernel->key = own_key(kernel->source);
    const std::lock_guard lock(preparing_);
    ++statistics_.rendered;
    if (prepared_.size() >= kKept) prepared_.clear();
    return prepared_[spec] = std::move(kernel);
}

KernelLibrary::Prepared KernelLibrary::prepare_all(const std::vector<KernelSpec>& specs) {
    settle(specs);
    Prepared kernels;
    for (const KernelSpec& spec : specs) kernels.push_back(prepare(spec));
    return kernels;
}

CacheKey KernelLibrary::key(const PreparedKernel& kernel) const {
    const auto other = other_builds_.find(kernel.key);
    return other == other_builds_.end() ? kernel.key : other->second;
}

std::optional<CodeObject> KernelLibrary::find_other_build(const PreparedKernel& kernel) {
    if (!environment_.any_compiler_build) return std::nullopt;
    const auto build = store_.find_other_build(key_parts(kernel));
    if (!build || !build->signed_by_us) return std::nullopt;
    auto code = store_.find_here(build->key);
    if (code) other_builds_[kernel.key] = build->key;
    return code;
}

std::string KernelLibrary::other_builds(const std::vector<KernelSpec>& missing) {
    return other_builds(prepare_all(missing));
}

std::string KernelLibrary::other_builds(const Prepared& missing) {
    std::map<std::string, size_t> places;  // "clang llvm-19 0123... in layer farm.htb" -> kernels
    bool usable = false;
    for (const auto& kernel : missing)
        if (const auto build = store_.find_other_build(key_parts(*kernel))) {
            ++places[fmt::format("{} in {}", build->compiler, build->place)];
            usable |= build->signed_by_us;
        }
    if (places.empty()) return {};
    std::string text = "another build of the compiler made";
    for (const auto& [place, kernels] : places)
        text += fmt::format(" {} of them ({})", kernels, place);
    text += fmt::format("; here is {}; ", compiler_->identity());
    text += usable
                ? "ModelOptions::any_compiler_build uses those that a trusted key signed"
                : "ModelOptions::any_compiler_build could use them, were they in a bundle that a "
                  "key of "
                  "HETUNE_TRUSTED_KEYS signed";
    return text;
}

CacheKey KernelLibrary::own_key(const std::string& source) const {
    return make_key({source, options_, arch_.name, compiler_->identity()});
}

KeyParts KernelLibrary::key_parts(const PreparedKernel& kernel) const {
    const std::string& text = kernel.source;
    KeyParts parts = {{"template", kernel.spec.name},
                      {"arch", arch_.name},
                      {"compiler", compiler_->identity()},
                      {"options", options_},
                      {"source", content_hash(text.data(), text.size()).hex()}};
    for (const auto& [name, value] : kernel.spec.constants) parts["constant " + name] = value;
    for (const auto& [name, lines] : lines_by_file(text))
        parts["file " + name] = content_hash(lines.data(), lines.size()).hex();
    return parts;
}

void KernelLibrary::check_given_up(const KernelSpec& spec) const {
    if (given_up_ && given_up_())
        throw CompileError(CompileError::Cause::kGivenUp,
                           fmt::format("compiling {} for {}: given up", spec.name, arch_.name));
}

CodeObject KernelLibrary::compile(const PreparedKernel& kernel) {
    check_given_up(kernel.spec);
    CodeObject code = compiler_->compile({kernel.spec.name, kernel.source, arch_, given_up_});
    check_resources(code, arch_);
    check_instructions(kernel.spec, code);
    return code;
}

void KernelLibrary::check_instructions(const KernelSpec& spec, const CodeObject& code) {
    const TemplateInfo* info = find_template(spec.name);
    if (info == nullptr || !are_checked(info->promises, arch_)) return;
    std::call_once(disassembler_once_, [&] { disassembler_ = find_disassembler(environment_); });
    if (disassembler_ == nullptr) return;
    const InstructionMix mix = count_instructions(disassembler_->listing(code, arch_));
    check_promises(mix, spec, arch_);
    store_.facts().put({.key = instruction_count(code),
                        .kernel = spec.name,
                        .good = true,
                        .value = to_json(mix).dump()});
}

FactKey KernelLibrary::instruction_count(const CodeObject& code) const {
    return {.kind = "instructions", .object = hash_of(code), .arch = arch_.name, .version = "1"};
}

std::vector<KernelLibrary::Attempt> KernelLibrary::attempt(
    const Prepared& kernels, const Progress& progress,
    const std::function<bool(const CacheKey&, size_t)>& skip) {
    std::vector<Attempt> attempts(kernels.size());
    std::vector<size_t> missing;
    for (size_t i = 0; i < kernels.size(); ++i) {
        // A remote cache is asked later, by several threads, unless nothing may be compiled.
        const CacheKey name = key(*kernels[i]);
        auto found = environment_.no_jit ? store_.find(name) : store_.find_here(name);
        if (!found) found = find_other_build(*kernels[i]);
        if (found) {
            attempts[i].code = *std::move(found);
            ++statistics_.cached;
        } else if (!skip(name, i)) {
            missing.push_back(i);
        }
    }
    if (missing.empty()) return attempts;
    if (environment_.no_jit) {
        std::string names;
        Prepared list;
        for (const size_t i : missing) {
            names += "\n  " + kernels[i]->spec.to_string();
            list.push_back(kernels[i]);
        }
        if (const std::string others = other_builds(list); !others.empty()) names += "\n" + others;
        throw CompileError(
            CompileError::Cause::kNoCompiler,
            fmt::format("{} of {} kernels for {} by {} are not in the cache, and "
                        "compiling is switched off (ModelOptions::no_jit, HETUNE_NO_JIT); `hetune "
                        "prewarm {} --arch {} --compiler {}` makes them:{}",
                        missing.size(), kernels.size(), arch_.name, compiler_->name(), model_,
                        arch_.name, compiler_->name(), names));
    }

    std::atomic<size_t> next = 0;
    size_t done = 0;
    std::mutex mutex;
    FirstException broken;  // of `progress`: kernels in hand are finished, no more begun
    auto work = [&] {
        for (size_t at = next++; at < missing.size() && !broken.any(); at = next++) {
            const size_t i = missing[at];
            bool mine = false;
            try {
                const PreparedKernel& kernel = *kernels[i];
                check_given_up(kernel.spec);
                const auto make = [&] {
                    mine = true;
                    return compile(kernel);
                };
                CodeObject code = store_.get_or_make(key(kernel), key_parts(kernel), make,
                                                     [&] { check_given_up(kernel.spec); });
                const std::lock_guard lock(mutex);
                attempts[i].code = std::move(code);
                (mine ? statistics_.compiled : statistics_.cached) += 1;
                if (mine) statistics_.compile_ms += attempts[i].code.compile_ms;
            } catch (...) {
                const std::lock_guard lock(mutex);
                attempts[i].failure = std::current_exception();
            }
            const std::lock_guard lock(mutex);
            ++done;
            broken.guard([&] {
                if (mine && attempts[i].failure == nullptr && compiled_)
                    compiled_(kernels[i]->spec);
                if (progress) progress(done, missing.size());
            });
        }
    };
    if (progress) progress(0, missing.size());
    std::vector<std::jthread> threads;
    const auto count = std::min(static_cast<size_t>(jobs_), missing.size());
    try {
        for (size_t t = 0; t < count; ++t) threads.emplace_back(work);
    } catch (const std::system_error&) {  // `ulimit -u`: those that did start do all of it
        if (threads.empty()) work();
    }
    threads.clear();
    broken.rethrow();
    return attempts;
}

std::vector<CodeObject> KernelLibrary::get(const std::vector<KernelSpec>& specs,
                                           const Progress& progress) {
    std::vector<CodeObject> codes;
    const auto none = [](const CacheKey&, size_t) { return false; };
    for (Attempt& made : attempt(prepare_all(specs), progress, none)) {
        if (made.failure != nullptr) std::rethrow_exception(made.failure);
        codes.push_back(std::move(made.code));
    }
    return codes;
}

FactKey KernelLibrary::refusal(const CacheKey& key) const {
    return {.kind = "refusal", .object = key, .arch = arch_.name, .version = "1"};
}

Fact KernelLibrary::left_out(const KernelSpec& spec, const std::string& why) const {
    FactKey fact = refusal(key(spec));
    fact.kind = "left out";
    return {.key = fact, .kernel = spec.name, .good = true, .value = text_of({{"reason", why}})};
}

std::optional<std::string> KernelLibrary::reason(const FactKey& key) {
    const auto fact = store_.facts().find(key);
    if (!fact) return std::nullopt;
    try {
        return json_value<std::string>(parse_json(fact->value), "reason");
    } catch (const CacheError&) {
        return std::nullopt;
    }
}

std::optional<std::string> KernelLibrary::known_refusal(const KernelSpec& spec) {
    return known_refusal(key(spec), true);
}

std::optional<std::string> KernelLibrary::known_refusal(const CacheKey& key, bool left_out) {
    FactKey fact = refusal(key);
    auto why = reason(fact);
    fact.kind = "left out";
    return why || !left_out ? why : reason(fact);
}

std::vector<Fact> KernelLibrary::good_facts(const std::vector<KernelSpec>& specs) {
    std::vector<Fact> facts;
    for (const KernelSpec& spec : specs)
        if (const auto code = store_.find_here(key(spec)))
            if (auto fact = store_.facts().find(instruction_count(*code)); fact && fact->good)
                facts.push_back(*std::move(fact));
    return facts;
}

std::vector<KernelLibrary::Made> KernelLibrary::make(const std::vector<KernelSpec>& specs,
                                                     bool retry, const Progress& progress) {
    std::vector<Made> made(specs.size());
    const auto skip = [&](const CacheKey& key, size_t i) {
        const bool may_compile = has_compiler_ && !environment_.no_jit;
        const auto known = retry && may_compile ? std::nullopt : known_refusal(key, !may_compile);
        if (known) made[i] = {.refused = *known, .remembered = true};
        return known.has_value();
    };
    const Prepared kernels = prepare_all(specs);
    std::vector<Attempt> attempts = attempt(kernels, progress, skip);
    for (size_t i = 0; i < specs.size(); ++i) {
        made[i].code = std::move(attempts[i].code);
        if (attempts[i].failure == nullptr) continue;
        try {
            std::rethrow_exception(attempts[i].failure);
        } catch (const CompileError& error) {
            // A crash may be of this kernel alone, so that another variant compiles; but it may as
            // well be of this machine, and is never stored.
            if (!error.is_verdict() && error.cause() != CompileError::Cause::kCrash) throw;
            made[i].refused = error.what();
            if (!error.is_verdict()) continue;
            store_.facts().put(
                {.key = refusal(key(*kernels[i])),
                 .kernel = specs[i].name,
                 .value = text_of({{"reason", error.what()}, {"log", error.log()}})});
        }
    }
    return made;
}

std::vector<KernelSpec> KernelLibrary::missing(const std::vector<KernelSpec>& specs) {
    std::vector<KernelSpec> list;
    for (const auto& kernel : prepare_all(specs))
        if (!store_.find(key(*kernel)) && !find_other_build(*kernel)) list.push_back(kernel->spec);
    return list;
}

void check_resources(const CodeObject& code, const Arch& arch) {
    const KernelResources& r = code.resources;
    auto refuse = [&](const std::string& why) {
        throw CompileError(CompileError::Cause::kGate,
                           fmt::format("{} for {}: {}", code.entry, arch.name, why));
    };
    if (r.spilled_vgprs > 0 || r.spilled_sgprs > 0)
        refuse(fmt::format("{} VGPRs and {} SGPRs spilled", r.spilled_vgprs, r.spilled_sgprs));
    if (r.scratch_bytes > 0) refuse(fmt::format("{} bytes of scratch a lane", r.scratch_bytes));
    if (r.lds_bytes > arch.lds_bytes_per_group)
        refuse(fmt::format("{} bytes of LDS, but a group has {}", r.lds_bytes,
                           arch.lds_bytes_per_group));
}

}  // namespace hetune
