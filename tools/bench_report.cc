#include "tools/bench_report.h"

#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "runtime/device/readable_bytes.h"
#include "runtime/load/memory.h"
#include "tools/json_output.h"
#include "tools/model_options.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;

double percent(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

// A share of a rate that was not measured (0) is no figure.
std::string share(double percent, double rate, const char* unit) {
    return rate > 0 ? fmt::format("{:.1f}{}", percent, unit) : "-";
}

// The title of a column that comes from a rate of the data sheet says so.
std::string title_of(const char* name, const std::vector<KernelTime>& kernels) {
    return (kernels.front().predicted ? "predicted " : "") + std::string(name);
}

// Cells of the table that text, Markdown and CSV share.
struct Row {
    std::string test;
    std::string left_out;
    std::string cut;  // "2 of 5 runs" where no time was left for the others
    double median = 0, least = 0, most = 0;
    std::vector<double> samples;
    double gb_s = 0, read_percent = 0, tflops = 0, matrix_percent = 0;
    int64_t launches = 0;
    double host_us = 0, process_percent = 0;
};

std::vector<Row> rows_of(const BenchReport& report) {
    std::vector<Row> rows;
    for (const BenchResult& r : report.results)
        rows.push_back({r.what.name(), r.left_out,
                        r.left_out.empty() && r.passes < report.repeats
                            ? fmt::format("{} of {} runs", r.passes, report.repeats)
                            : "",
                        r.tokens_per_second.median, r.tokens_per_second.least,
                        r.tokens_per_second.most, r.tokens_per_second.samples, r.gb_s(),
                        percent(r.gb_s(), report.rates.read_gb_s), r.tflops(),
                        percent(r.tflops(), report.rates.matrix_tflops), r.launches, r.host_us,
                        r.process_percent});
    return rows;
}

// The lines above the table.
std::vector<std::pair<std::string, std::string>> facts_of(const BenchReport& report) {
    const ModelInfo& m = report.model;
    std::vector<std::pair<std::string, std::string>> facts = {
        {"model", fmt::format("{} ({}), weights {}", m.name, m.architecture, report.quant)},
        {"device", fmt::format("{} ({}, {}), {}", m.device, m.backend, m.arch, report.driver)},
        {"kernels",
         fmt::format("by {}; activations {}, KV {}", m.compiler.substr(0, m.compiler.find(' ')),
                     report.activations, report.kv)},
        {"load",
         fmt::format(
             "{:.2f} s: {} kernels compiled and {} cached in {:.2f} s, weights {} in {:.2f} s",
             m.load_seconds, m.kernels_compiled, m.kernels_cached, m.compile_seconds,
             m.weights_repacked ? "repacked" : "mapped", m.repack_seconds)},
        {"memory",
         fmt::format("{} on the device, {} at most on the host",
                     readable_bytes(report.device_bytes), readable_bytes(report.host_peak_bytes))},
    };
    if (report.rates.read_gb_s > 0)
        facts.push_back(
            {"measured",
             fmt::format("reads {:.0f} GB/s over {}; matrix rate {}", report.rates.read_gb_s,
                         readable_bytes(report.rates.read_bytes),
                         report.rates.matrix_tflops > 0
                             ? fmt::format("{:.0f} TFLOP/s ({})", report.rates.matrix_tflops,
                                           report.rates.matrix_how)
                             : report.rates.matrix_how)});
    facts.push_back({"hetune", fmt::format("{} ({})", HETUNE_VERSION, HETUNE_COMMIT)});
    facts.push_back({"command", report.command});
    return facts;
}

std::vector<std::pair<std::string, std::vector<KernelTime>>> kernel_tables(
    const BenchReport& report) {
    std::vector<std::pair<std::string, std::vector<KernelTime>>> tables;
    if (!report.kernels.empty()) tables.emplace_back("kernels of a token", report.kernels);
    if (!report.prompt_kernels.empty())
        tables.emplace_back("kernels of a prompt step", report.prompt_kernels);
    return tables;
}

std::string text(const BenchReport& report) {
    std::string out;
    for (const auto& [name, value] : facts_of(report))
        out += fmt::format("{:<9} {}\n", name, value);
    out += fmt::format("\n{:<18} {:>10} {:>10} {:>10} {:>9} {:>7} {:>9} {:>7} {:>9} {:>8} {:>8}\n",
                       "test", "tok/s", "min", "max", "GB/s", "of read", "TFLOP/s", "of mat.",
                       "launches", "host us", "process");
    for (const Row& r : rows_of(report)) {
        out += r.left_out.empty()
                   ? fmt::format(
                         "{:<18} {:>10.2f} {:>10.2f} {:>10.2f} {:>9.1f} {:>7} {:>9.2f} "
                         "{:>7} {:>9} {:>8.2f} {:>7.1f}%{}{}\n",
                         r.test, r.median, r.least, r.most, r.gb_s,
                         share(r.read_percent, report.rates.read_gb_s, "%"), r.tflops,
                         share(r.matrix_percent, report.rates.matrix_tflops, "%"), r.launches,
                         r.host_us, r.process_percent, r.cut.empty() ? "" : "  ", r.cut)
                   : fmt::format("{:<18} left out: {}\n", r.test, r.left_out);
    }
    for (const auto& [title, kernels] : kernel_tables(report)) {
        out += fmt::format("\n{:<24} {:<26} {:>8} {:>10} {:>18} {:>15} {:>10}\n", title,
                           "first step", "launches", "us", title_of("floor us", kernels),
                           title_of("share", kernels), "KiB");
        double us = 0, floor_us = 0;
        for (const KernelTime& k : kernels) {
            us += k.us;
            floor_us += k.floor_us;
            out += fmt::format("{:<24} {:<26} {:>8} {:>10.2f} {:>18.2f} {:>14.1f}% {:>10.1f}\n",
                               k.kernel, k.first, k.launches, k.us, k.floor_us,
                               percent(k.floor_us, k.us), static_cast<double>(k.bytes) / 1024);
        }
        out += fmt::format("{:<24} {:<26} {:>8} {:>10.2f} {:>18.2f} {:>14.1f}%\n", "together", "",
                           "", us, floor_us, percent(floor_us, us));
    }
    return out;
}

std::string markdown(const BenchReport& report) {
    std::string out;
    for (const auto& [name, value] : facts_of(report))
        out += fmt::format("- {}: `{}`\n", name, value);
    out +=
        "\n| test | tok/s | min | max | GB/s | of read | TFLOP/s | of matrix | launches | host us "
        "| process |\n"
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n";
    for (const Row& r : rows_of(report)) {
        out += r.left_out.empty()
                   ? fmt::format(
                         "| {}{}{} | {:.2f} | {:.2f} | {:.2f} | {:.1f} | {} | {:.2f} | {} | {} | "
                         "{:.2f} | {:.1f} % |\n",
                         r.test, r.cut.empty() ? "" : ", ", r.cut, r.median, r.least, r.most,
                         r.gb_s, share(r.read_percent, report.rates.read_gb_s, " %"), r.tflops,
                         share(r.matrix_percent, report.rates.matrix_tflops, " %"), r.launches,
                         r.host_us, r.process_percent)
                   : fmt::format("| {} | left out: {} | | | | | | | | | |\n", r.test, r.left_out);
    }
    for (const auto& [title, kernels] : kernel_tables(report)) {
        out += fmt::format(
            "\n| {} | first step | launches | us | {} | {} | KiB |\n"
            "| --- | --- | --: | --: | --: | --: | --: |\n",
            title, title_of("floor us", kernels), title_of("share", kernels));
        for (const KernelTime& k : kernels)
            out += fmt::format("| {} | {} | {} | {:.2f} | {:.2f} | {:.1f} % | {:.1f} |\n", k.kernel,
                               k.first, k.launches, k.us, k.floor_us, percent(k.floor_us, k.us),
                               static_cast<double>(k.bytes) / 1024);
    }
    return out;
}

// A field in quotes, its own doubled.
std::string quoted(const std::string& field) {
    std::string out = "\"";
    for (const char c : field) out += c == '"' ? "\"\"" : std::string(1, c);
    return out + "\"";
}

// Empty where there is no rate to take a share of.
std::string cell(double percent, double rate) {
    return rate > 0 ? fmt::format("{:.2f}", percent) : "";
}

std::string csv(const BenchReport& report) {
    std::string out =
        "model,quant,backend,device,driver,commit,command,test,tok_s,tok_s_min,tok_s_max,gb_s,"
        "read_percent,tflop_s,matrix_percent,launches,host_us,process_percent,read_gb_s,matrix_"
        "tflop_s,left_out\n";
    for (const Row& r : rows_of(report))
        out += fmt::format(
            "{},{},{},{},{},{},{},{},{:.3f},{:.3f},{:.3f},{:.2f},{},{:.3f},{},{},{:.3f},{:.2f},"
            "{:.1f},{:.2f},{}\n",
            quoted(report.model.name), report.quant, report.model.backend,
            quoted(report.model.device), quoted(report.driver), HETUNE_COMMIT,
            quoted(report.command), r.test, r.median, r.least, r.most, r.gb_s,
            cell(r.read_percent, report.rates.read_gb_s), r.tflops,
            cell(r.matrix_percent, report.rates.matrix_tflops), r.launches, r.host_us,
            r.process_percent, report.rates.read_gb_s, report.rates.matrix_tflops,
            quoted(r.left_out));
    return out;
}

std::string json(const BenchReport& report) {
    const ModelInfo& m = report.model;
    Json out = {{"version", HETUNE_VERSION},
                {"commit", HETUNE_COMMIT},
                {"command", report.command},
                {"model", m.name},
                {"architecture", m.architecture},
                {"quant", report.quant},
                {"backend", m.backend},
                {"device", m.device},
                {"arch", m.arch},
                {"driver", report.driver},
                {"compiler", m.compiler},
                {"activations", report.activations},
                {"kv", report.kv},
                {"repeats", report.repeats},
                {"load_seconds", m.load_seconds},
                {"compile_seconds", m.compile_seconds},
                {"kernels_compiled", m.kernels_compiled},
                {"kernels_cached", m.kernels_cached},
                {"weights_repacked", m.weights_repacked},
                {"weights_seconds", m.repack_seconds},
                {"device_bytes", report.device_bytes},
                {"host_peak_bytes", report.host_peak_bytes},
                {"read_gb_s", report.rates.read_gb_s},
                {"read_bytes", report.rates.read_bytes},
                {"matrix_tflop_s", report.rates.matrix_tflops},
                {"matrix_how", report.rates.matrix_how}};
    const auto share_json = [](double percent, double rate) {
        return rate > 0 ? Json(percent) : Json(nullptr);
    };
    out["tests"] = Json::array();
    for (const Row& r : rows_of(report)) {
        if (!r.left_out.empty()) {
            out["tests"].push_back({{"test", r.test}, {"left_out", r.left_out}});
            continue;
        }
        out["tests"].push_back(
            {{"test", r.test},
             {"tok_s",
              {{"median", r.median}, {"min", r.least}, {"max", r.most}, {"samples", r.samples}}},
             {"gb_s", r.gb_s},
             {"read_percent", share_json(r.read_percent, report.rates.read_gb_s)},
             {"tflop_s", r.tflops},
             {"matrix_percent", share_json(r.matrix_percent, report.rates.matrix_tflops)},
             {"runs", r.samples.size()},
             {"launches", r.launches},
             {"host_us", r.host_us},
             {"process_percent", r.process_percent}});
    }
    const auto list = [&](const char* name, const std::vector<KernelTime>& kernels) {
        for (const KernelTime& k : kernels)
            out[name].push_back({{"kernel", k.kernel},
                                 {"first", k.first},
                                 {"launches", k.launches},
                                 {"us", k.us},
                                 {"floor_us", k.floor_us},
                                 {"floor_is", k.predicted ? "predicted" : "measured"},
                                 {"bytes", k.bytes},
                                 {"operations", k.operations}});
    };
    list("kernels", report.kernels);
    list("prompt_kernels", report.prompt_kernels);
    return json_text(out) + "\n";
}

}  // namespace

const std::vector<BenchFormat>& bench_formats() {
    static const std::vector<BenchFormat> formats = {{"text", "txt", text},
                                                     {"markdown", "md", markdown},
                                                     {"csv", "csv", csv},
                                                     {"json", "json", json}};
    return formats;
}

std::string command_line() {
    std::ifstream file("/proc/self/cmdline", std::ios::binary);
    std::string line{std::istreambuf_iterator<char>(file), {}};
    while (!line.empty() && line.back() == '\0') line.pop_back();
    for (char& c : line)
        if (c == '\0') c = ' ';
    return line;
}

}  // namespace hetune
