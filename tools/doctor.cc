// hetune doctor: what runs and compiles on this machine, and what to install for the rest.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "cache/maintenance.h"
#include "runtime/compile/compiler.h"
#include "runtime/compile/disassembly.h"
#include "runtime/device/device.h"
#include "tools/command.h"
#include "tools/options.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;

// One entry for each device of a backend, or one that says why there is none.
void report_devices(const Backend& backend, Json& devices) {
    const Json about = {{"backend", backend.name}, {"description", backend.description}};
    try {
        for (const FoundDevice& found : backend.devices()) {
            Json report = about;
            report["name"] = found.name;
            report["arch"] = found.arch;
            report["memory_bytes"] = found.memory_bytes;
            std::string why_not = found.unusable;
            if (why_not.empty()) try {
                    report["driver"] = backend.open(found.ordinal)->info().driver;
                } catch (const std::runtime_error& error) {
                    why_not = error.what();
                }
            report["unavailable"] = why_not;
            devices.push_back(report);
        }
    } catch (const DeviceError& error) {
        devices.push_back(about);
        devices.back()["unavailable"] = error.what();
    }
}

// Archs for which it compiles the smallest kernel, here and now; the others with the reason.
void try_archs(Compiler& compiler, const CompilerKind& kind, Json& report) {
    report["archs"] = Json::array();
    report["fails"] = Json::object();
    for (const Arch& arch : known_archs()) {
        if (std::ranges::find(kind.families, arch.family) == kind.families.end()) continue;
        try {
            compiler.compile({"probe", smallest_kernel(arch.family), arch});
            report["archs"].push_back(arch.name);
        } catch (const CompileError& error) {
            report["fails"][arch.name] = error.what();
        }
    }
}

Json compiler_report(const CompilerKind& kind, const Environment& environment) {
    Json report = {
        {"name", kind.name}, {"install", kind.install}, {"unavailable", "not installed"}};
    try {
        const auto compiler = kind.find(environment);
        if (compiler == nullptr) return report;
        report["identity"] = compiler->identity();
        report["unavailable"] = "";
        try_archs(*compiler, kind, report);
    } catch (const CompileError& error) {
        report["unavailable"] = error.what();
    }
    return report;
}

Json cache_report() {
    std::vector<std::string> warnings;
    const CacheOptions options =
        cache_options_from_environment([&](const std::string& line) { warnings.push_back(line); });
    CacheFolder folder(options);
    const ObjectTotal total = total_objects(folder);
    Json report = {{"folder", options.folder.string()},
                   {"writable", !folder.writable().empty()},
                   {"objects", total.objects},
                   {"bytes", total.bytes},
                   {"max_bytes", options.max_bytes}};
    folder.with_index([&](Index& index) {
        auto counters = index.counters();
        for (const char* name : {"hits", "misses", "saved_ms"}) report[name] = counters[name];
    });
    report["warnings"] = warnings;
    return report;
}

// What would help: a compiler for a device that is here and has none.
std::vector<std::string> advice(const Json& devices, const Json& compilers) {
    std::vector<std::string> lines;
    for (const Json& device : devices) {
        if (!device["unavailable"].get<std::string>().empty()) continue;
        const Arch& arch = find_arch(device["arch"].get<std::string>());
        std::vector<std::string> install;
        bool served = false;
        for (const CompilerKind& kind : compiler_kinds()) {
            if (std::ranges::find(kind.families, arch.family) == kind.families.end()) continue;
            install.push_back(kind.install);
            for (const Json& compiler : compilers)
                served |= compiler["name"] == kind.name && compiler.contains("archs") &&
                          std::ranges::find(compiler["archs"], Json(arch.name)) !=
                              compiler["archs"].end();
        }
        if (!served)
            lines.push_back(fmt::format("nothing compiles for {} ({}): {}",
                                        device["name"].get<std::string>(), arch.name,
                                        fmt::join(install, ", or ")));
    }
    return lines;
}

void print_report(const Json& report) {
    auto text = [](const Json& value) { return value.get<std::string>(); };
    fmt::print("devices\n");
    for (const Json& device : report["devices"])
        if (text(device["unavailable"]).empty())
            fmt::print("  {:9} {} ({}), {:.1f} GiB, {}\n", text(device["backend"]),
                       text(device["name"]), text(device["arch"]),
                       device["memory_bytes"].get<double>() / (1u << 30), text(device["driver"]));
        else
            fmt::print("  {:9} no: {}\n", text(device["backend"]), text(device["unavailable"]));
    fmt::print("compilers, in the order of choice\n");
    for (const Json& compiler : report["compilers"]) {
        if (!text(compiler["unavailable"]).empty()) {
            fmt::print("  {:9} no: {}; to get it: {}\n", text(compiler["name"]),
                       text(compiler["unavailable"]), text(compiler["install"]));
            continue;
        }
        fmt::print("  {:9} {}\n", text(compiler["name"]), text(compiler["identity"]));
        fmt::print("            works for {}\n",
                   fmt::join(compiler["archs"].get<std::vector<std::string>>(), ", "));
        for (const auto& [arch, why] : compiler["fails"].items())
            fmt::print("            not for {}: {}\n", arch, text(why));
    }
    fmt::print("  disassembler: {}\n", text(report["disassembler"]));
    const Json& cache = report["cache"];
    fmt::print("cache\n  {}: {}, {} objects, {:.1f} of {:.1f} MiB\n", text(cache["folder"]),
               cache["writable"].get<bool>() ? "writable" : "not writable",
               cache["objects"].get<uint64_t>(), cache["bytes"].get<double>() / (1u << 20),
               cache["max_bytes"].get<double>() / (1u << 20));
    for (const Json& warning : cache["warnings"]) fmt::print("  {}\n", text(warning));
    for (const Json& line : report["advice"]) fmt::print("to do: {}\n", text(line));
}

const RegisterCommand kDoctor{
    "doctor", "Says which devices and compilers work here, and what to install for the rest",
    [](CLI::App& app) {
        struct Options {
            bool json = false;
            std::string compiler;
        };
        auto options = std::make_shared<Options>();
        app.add_flag("--json", options->json, "Print JSON");
        app.add_option("--compiler", options->compiler, "look at this one only")
            ->check(compiler_option());
        app.footer(
            "Example:\n  hetune doctor\n  hetune doctor --compiler hiprtc --json\n\n"
            "Exit code 1: a device is here for which nothing compiles.");
        return [options] {
            const Environment environment = read_environment();
            Json devices = Json::array(), compilers = Json::array();
            std::vector<std::string> names;
            for (const CompilerKind& kind : compiler_kinds()) {
                names.push_back(kind.name);
                if (options->compiler.empty() || options->compiler == kind.name)
                    compilers.push_back(compiler_report(kind, environment));
            }
            if (compilers.empty())
                throw std::runtime_error(fmt::format("unknown compiler '{}'; known: {}",
                                                     options->compiler, fmt::join(names, ", ")));
            for (const Backend& backend : backends()) report_devices(backend, devices);
            const auto disassembler = find_disassembler(environment);
            const Json report = {
                {"version", HETUNE_VERSION},
                {"devices", devices},
                {"compilers", compilers},
                {"disassembler", disassembler == nullptr ? "no; to get it: apt install libllvm19"
                                                         : disassembler->identity()},
                {"cache", cache_report()},
                {"advice", options->compiler.empty() ? advice(devices, compilers)
                                                     : std::vector<std::string>()}};
            if (options->json)
                fmt::print("{}\n", report.dump(1, ' ', false, Json::error_handler_t::replace));
            else
                print_report(report);
            return report["advice"].empty() ? 0 : 1;
        };
    }};

}  // namespace
}  // namespace hetune
