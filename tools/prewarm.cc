// hetune prewarm: compiles what a model will need elsewhere, with no GPU and without its weights.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "cache/transfer.h"
#include "planner/file/model_header.h"
#include "planner/plan/arch.h"
#include "runtime/api/hetune.h"
#include "runtime/compile/kernel_library.h"
#include "runtime/device/device.h"
#include "runtime/device/readable_bytes.h"
#include "runtime/engine/recipes.h"
#include "runtime/load/memory.h"
#include "runtime/load/model_plans.h"
#include "runtime/load/weights.h"
#include "runtime/trial/tunings_for.h"
#include "tools/cache_commands.h"
#include "tools/chosen_arch.h"
#include "tools/interrupts.h"
#include "tools/json_output.h"
#include "tools/model_options.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/shard.h"
#include "tools/terminal.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMissing = 1;

struct PrewarmArguments {
    std::string file;     // of a model, or its description in JSON
    std::string recipes;  // in the place of a model
    std::vector<std::string> archs;
    std::vector<std::string> compilers = {""};
    std::vector<int> prefill_rows = {ModelOptions().prefill_rows};
    std::vector<int> batches;
    std::vector<int64_t> contexts;
    std::vector<std::string> activations = {"q8"};
    std::vector<std::string> kv = {ModelOptions().kv_type};
    std::string shard = "1/1";
    std::string bundle, key;
    int jobs = 0;
    bool tiles = false, check = false, dry_run = false, retry = false, json = false;
    bool any_compiler_build = false, allow_unused = false;

    bool compiles() const { return !check && !dry_run; }
};

// One for each choice of rows, activations and KV type, with steps of the largest batch and of all
// smaller ones.
std::vector<LoadOptions> loads(const PrewarmArguments& args) {
    const int sequences = args.batches.empty() ? 1 : *std::ranges::max_element(args.batches);
    std::vector<LoadOptions> list;
    for (const int rows : args.prefill_rows)
        for (const Activations activations : {Activations::kQuantised, Activations::kFloat})
            for (const std::string& kv : kv_type_names())
                if (std::ranges::count(args.activations, to_string(activations)) > 0 &&
                    std::ranges::count(args.kv, kv) > 0)
                    list.push_back({.sequences = sequences,
                                    .prefill_rows = rows,
                                    .activations = activations,
                                    .kv = kv_type(kv)});
    return list;
}

ModelFile open_model(const PrewarmArguments& args) {
    if (std::filesystem::path(args.file).extension() == ".json") {
        if (args.tiles) throw UsageError("--tiles needs a model file with its weights");
        return read_model_description(args.file);
    }
    // Without its weights a file is good enough, unless they are repacked.
    return ModelFile(args.file,
                     args.tiles ? ModelFile::Open::kWhole : ModelFile::Open::kHeaderOnly);
}

// The kernels of one arch by one compiler.
struct Job {
    Arch arch;
    std::unique_ptr<KernelLibrary> library;
    std::set<std::string> planned;    // all kernels, before any was refused
    std::vector<KernelSpec> kernels;  // of the shard
    std::vector<KernelSpec> missing;
    std::map<std::string, std::string> refused;  // kernels with another in their place, and why
    std::vector<Fact> left_out;                  // the same, for a bundle
    std::string failure;                         // the first; empty: none
};

class Prewarm {
  public:
    explicit Prewarm(const PrewarmArguments& args)
        : args_(args), shard_(parse_shard(args.shard)), cache_(cache_options()), store_(cache_) {
        if (!args.key.empty()) key_ = SigningKey::load(args.key);
        if (args.recipes.empty())
            open(args);
        else
            recipes_ = read_recipes(args.recipes);
        Environment environment = read_environment();
        environment.no_jit = false;  // compiling is what this command is for
        environment.any_compiler_build = args.any_compiler_build;
        for (const Arch& arch : archs())
            for (const std::string& compiler : args.compilers) {
                Job job{arch, std::make_unique<KernelLibrary>(arch, store_, environment, compiler,
                                                              args.jobs)};
                job.library->give_up_when(interrupted);
                job.library->when_compiled(
                    [this](const KernelSpec& spec) { progress_.compiled(spec.name); });
                for (const KernelSpec& spec : kernels(job)) job.planned.insert(spec.to_string());
                plan(job);
                jobs_.push_back(std::move(job));
            }
    }

    int run() {
        for (Job& job : jobs_) {
            make(job);
            job.missing = job.library->missing(job.kernels);
        }
        if (args_.tiles && shard_.index == 0) repack();
        if (args_.compiles() && !args_.bundle.empty() && !interrupted()) write();
        if (args_.json)
            fmt::print("{}\n", json_text(report_json()));
        else
            print_report();
        if (interrupted()) tell("hetune: stopped; the same command goes on where it was\n");
        return interrupted_status(args_.dry_run || complete() ? 0 : kMissing);
    }

  private:
    void open(const PrewarmArguments& args) {
        file_.emplace(open_model(args));
        check_all_used(*file_, build_layer_graph(*file_), args.allow_unused);
    }

    std::vector<KernelSpec> kernels(const Job& job) const {
        return file_ ? kernels_of_loads(*file_, job.arch, loads_on(job))
                     : kernels_of_recipes(recipes_, job.arch, job.refused);
    }

    std::vector<Arch> archs() const {
        if (args_.archs.empty()) return {chosen_arch(args_.json)};
        std::vector<Arch> list;
        for (const std::string& name : args_.archs) list.push_back(find_arch(name));
        return list;
    }

    // With the defaults, and with the tunings of each device of the arch that has some.
    std::vector<LoadOptions> loads_on(const Job& job) const {
        std::vector<LoadOptions> list;
        for (const Tunings& tunings :
             all_tunings_for(stored_records(cache_, job.arch.name), job.arch,
                             job.library->compiler().identity(), tune_use(read_environment().tune)))
            for (LoadOptions options : loads(args_)) {
                options.tunings = tunings;
                options.refused = job.refused;
                list.push_back(std::move(options));
            }
        return list;
    }

    // A kernel's shard follows from its key alone, whatever else is compiled.
    // What takes the place of a refused kernel belongs to the shard of that kernel: the others do
    // not know of it.
    void plan(Job& job) {
        job.kernels.clear();
        for (KernelSpec& spec : kernels(job))
            if (shard_.holds(job.library->key(spec).low) || !job.planned.contains(spec.to_string()))
                job.kernels.push_back(std::move(spec));
    }

    // Makes all kernels, or asks what is known of them, until none in the plans is refused.
    void make(Job& job) {
        try {
            for (size_t before = 0;; before = job.refused.size()) {
                if (args_.compiles())
                    compile(job);
                else
                    ask(job);
                if (job.refused.size() == before) return;
                plan(job);
            }
        } catch (const CompileError& error) {
            if (error.cause() != CompileError::Cause::kGivenUp) job.failure = error.what();
        } catch (const ModelError& error) {  // no variant is left
            job.failure = error.what();
        }
    }

    void compile(Job& job) {
        const auto made = job.library->make(
            job.kernels, args_.retry,
            [&](size_t done, size_t total) { progress_.update(job.arch.name, done, total); });
        for (size_t i = 0; i < made.size(); ++i)
            if (!made[i].refused.empty()) refuse(job, job.kernels[i], made[i].refused);
    }

    void ask(Job& job) {
        for (const KernelSpec& spec : job.library->missing(job.kernels))
            if (const auto why = job.library->known_refusal(spec)) refuse(job, spec, *why);
    }

    void refuse(Job& job, const KernelSpec& spec, const std::string& why) {
        job.refused.emplace(spec.to_string(), why);
        job.left_out.push_back(job.library->left_out(spec, why));
    }

    void repack() try {
        TileStore store(cache_);
        ModelTiles tiles(*file_, store);
        tiles_ =
            args_.compiles()
                ? tiles.find_or_make(
                      model_plans(build_layer_graph(*file_), *file_, jobs_[0].arch, {}).buffers(),
                      [&](size_t done, size_t total) {
                          progress_.update("repack", done, total);
                          if (interrupted()) throw LoadCancelled("repacking: stopped");
                      })
                : tiles.find();
    } catch (const LoadCancelled&) {  // tiles_missing() says so
    }

    void write() {
        std::map<CacheKey, KeyParts> objects;
        std::vector<Fact> facts;
        for (const Job& job : jobs_) {
            facts.insert(facts.end(), job.left_out.begin(), job.left_out.end());
            std::ranges::move(job.library->good_facts(job.kernels), std::back_inserter(facts));
            for (const KernelSpec& spec : job.kernels)
                objects.emplace(job.library->key(spec),
                                job.library->key_parts(*job.library->prepare(spec)));
        }
        std::vector<BundledPack> packs;
        if (tiles_) packs.push_back({tiles_->model, tiles_->layout, &tiles_->pack});
        std::vector<TuningRecord> tunings;
        std::set<std::string> archs;
        for (const Job& job : jobs_)
            if (archs.insert(job.arch.name).second)
                std::ranges::move(stored_records(cache_, job.arch.name),
                                  std::back_inserter(tunings));
        write_bundle(store_, objects, packs, tunings, facts, args_.bundle, key_ ? &*key_ : nullptr);
    }

    // What each context takes, of the plans with the first choice of everything.
    std::vector<MemoryNeeds> needs(const Job& job) const {
        std::vector<MemoryNeeds> list;
        if (!file_ || args_.contexts.empty()) return list;
        const LoadOptions load = loads(args_).at(0);
        const ModelPlans plans = model_plans(build_layer_graph(*file_), *file_, job.arch, load);
        for (const int64_t context : args_.contexts)
            list.push_back(memory_needs(plans.steps,
                                        {.context = context,
                                         .sequences = load.sequences,
                                         .snapshots = load.state_snapshots,
                                         .checkpoints = state_checkpoints(load)},
                                        0));
        return list;
    }

    bool tiles_missing() const { return args_.tiles && shard_.index == 0 && !tiles_; }
    bool complete() const {
        return !tiles_missing() && std::ranges::all_of(jobs_, [](const Job& job) {
            return job.missing.empty() && job.failure.empty();
        });
    }

    Json report_json() const {
        Json json = {{"model", args_.file}, {"complete", complete()}, {"jobs", Json::array()}};
        if (!file_) json["recipes"] = recipes_.size();
        for (const Job& job : jobs_) {
            Json one = {{"arch", job.arch.name},
                        {"compiler", job.library->compiler().identity()},
                        {"kernels", job.kernels.size()},
                        {"compiled", job.library->statistics().compiled},
                        {"missing", Json::array()}};
            for (const KernelSpec& spec : job.missing)
                one["missing"].push_back(
                    {{"key", job.library->key(spec).hex()}, {"kernel", spec.to_string()}});
            for (const MemoryNeeds& need : needs(job))
                one["memory"].push_back({{"context", need.context},
                                         {"parallel", need.sequences},
                                         {"bytes", need.total()}});
            one["refused"] = job.refused;
            if (const auto other = job.library->other_builds(job.missing); !other.empty())
                one["other_builds"] = other;
            if (!job.failure.empty()) one["failed"] = job.failure;
            json["jobs"].push_back(std::move(one));
        }
        if (args_.tiles)
            json["tiles"] = {{"present", tiles_.has_value()},
                             {"repacked", tiles_ && tiles_->repacked}};
        if (args_.compiles() && !args_.bundle.empty()) json["bundle"] = args_.bundle;
        return json;
    }

    // Some of what was compiled may be in no plan any more.
    static size_t in_cache_before(const Job& job) {
        const size_t made_or_missing =
            job.missing.size() + static_cast<size_t>(job.library->statistics().compiled);
        return job.kernels.size() - std::min(job.kernels.size(), made_or_missing);
    }

    void print_report() const {
        for (const Job& job : jobs_) {
            const int compiled = job.library->statistics().compiled;
            fmt::print("{} by {}: {} kernels, {} compiled, {} in the cache before, {} missing\n",
                       job.arch.name, job.library->compiler().name(), job.kernels.size(), compiled,
                       in_cache_before(job), job.missing.size());
            for (const KernelSpec& spec : job.missing)
                fmt::print("  missing: {}\n", spec.to_string());
            if (const auto other = job.library->other_builds(job.missing); !other.empty())
                fmt::print("  {}\n", other);
            for (const MemoryNeeds& need : needs(job))
                fmt::print("  --ctx {}{}: {} of memory\n", need.context,
                           need.sequences == 1 ? "" : fmt::format(" --parallel {}", need.sequences),
                           readable_bytes(need.total()));
            for (const auto& [kernel, why] : job.refused)
                fmt::print("  refused, with another in its place: {}: {}\n", kernel, why);
            if (!job.failure.empty()) tell("hetune: {}\n", job.failure);
        }
        if (args_.tiles && shard_.index == 0)
            fmt::print("tiles: {}\n", !tiles_            ? "missing"
                                      : tiles_->repacked ? "repacked"
                                                         : "present");
        if (args_.compiles() && !args_.bundle.empty() && !interrupted())
            fmt::print("{}: written\n", args_.bundle);
    }

    const PrewarmArguments& args_;
    Shard shard_;
    std::optional<ModelFile> file_;
    std::vector<Recipe> recipes_;  // where there is no file
    std::optional<SigningKey> key_;
    CacheOptions cache_;
    CodeStore store_;
    std::vector<Job> jobs_;
    std::optional<StoredTiles> tiles_;
    Progress progress_;
};

const RegisterCommand kPrewarm{
    "prewarm", "Compiles all that a model needs, for any arch, with no GPU and without its weights",
    [](CLI::App& app) {
        auto args = std::make_shared<PrewarmArguments>();
        std::vector<std::string> archs;
        for (const Arch& arch : known_archs()) archs.push_back(arch.name);
        auto* what = app.add_option_group("What to compile", "one of the two");
        what->require_option(1);
        what->add_option("FILE", args->file,
                         "GGUF model (its header will do), or the JSON of `hetune inspect MODEL "
                         "--json --tensors`")
            ->check(not_empty());
        auto* recipes = what->add_option("--recipes", args->recipes,
                                         "what was recorded (`hetune cache recipes export`)")
                            ->check(not_empty());
        app.add_option("--arch", args->archs,
                       fmt::format("{}; may be repeated; default: that of this machine",
                                   fmt::join(archs, ", ")))
            ->check(arch_option())
            ->allow_extra_args(false);
        app.add_option("--compiler", args->compilers,
                       "hiprtc, comgr, clang or nvrtc; may be repeated; default: the best there is")
            ->check(compiler_option())
            ->allow_extra_args(false);
        app.add_option("--prefill-rows", args->prefill_rows,
                       "tokens of one prefill step; may be repeated; default: that of the arch")
            ->check(whole_number(1, 4096))
            ->allow_extra_args(false)
            ->excludes(recipes);
        app.add_option(
               "--batch", args->batches,
               "also decode steps of that many sequences at once, and of fewer (--parallel)")
            ->check(whole_number(1, kMostSequences))
            ->allow_extra_args(false)
            ->excludes(recipes);
        app.add_option("--ctx", args->contexts,
                       "print the memory that this context takes; kernels serve every context")
            ->check(whole_number(1, 1 << 30))
            ->allow_extra_args(false)
            ->excludes(recipes);
        app.add_option("--activations", args->activations, "q8 or f32; may be repeated")
            ->check(one_of({"q8", "f32"}))
            ->allow_extra_args(false)
            ->capture_default_str();
        app.add_option("--kv", args->kv, "f16, bf16, f32 or q8; may be repeated")
            ->check(one_of(kv_type_names()))
            ->allow_extra_args(false)
            ->capture_default_str();
        app.add_option("-j,--jobs", args->jobs, "compilers at once; default: one per core")
            ->check(whole_number(1, 1024));
        app.add_option("--shard", args->shard,
                       "only part I of N, as 2/4; the first part has the tiles")
            ->capture_default_str();
        app.add_flag("--any-compiler-build", args->any_compiler_build,
                     "take kernels of another build of the compiler, from bundles that a key of "
                     "HETUNE_TRUSTED_KEYS signed");
        add_allow_unused(app, args->allow_unused);
        app.add_flag("--tiles", args->tiles, "repack the weights too; needs the whole file")
            ->excludes(recipes);
        auto* output =
            app.add_option("-o,--output", args->bundle, "also write a bundle of just these objects")
                ->check(not_empty());
        app.add_option("--sign", args->key, "sign the bundle with this key (`hetune cache keygen`)")
            ->needs(output);
        auto* check = app.add_flag("--check", args->check,
                                   "compile nothing; list what is missing, and exit 1 if any")
                          ->excludes(output);
        app.add_flag("--dry-run", args->dry_run, "compile nothing; list what would be compiled")
            ->excludes(output)
            ->excludes(check);
        app.add_flag("--retry", args->retry, "try again the kernels that were refused earlier");
        app.add_flag("--json", args->json, "print JSON");
        app.footer(
            "What is compiled serves run, verify, logits and bench with any context: decode, "
            "prefill\n"
            "and sampling, fused and not. The target needs the same compiler: a kernel is found "
            "by\n"
            "its source, options and the compiler's identity. What cannot be compiled is "
            "remembered,\n"
            "and the planner's next variant compiled in its place.\n\n"
            "Examples:\n  hetune prewarm model.gguf --arch gfx1100 --arch gfx1151 -o kernels.htb\n"
            "  HETUNE_CACHE_PATH=kernels.htb hetune run model.gguf --no-jit\n"
            "  hetune prewarm model.gguf --arch gfx1100 --shard 2/4 -o part2.htb\n"
            "  hetune prewarm model.gguf --check\n"
            "  hetune prewarm --recipes fleet.recipes --arch gfx1201 -o kernels.htb --sign "
            "farm.key");
        return [args] {
            catch_interrupts({SIGINT, SIGTERM});
            return Prewarm(*args).run();
        };
    }};

}  // namespace
}  // namespace hetune
