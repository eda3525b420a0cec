// hetune: the command line. Each subcommand is a file of its own (command.h).
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <string_view>
#include <utility>

#include "tools/command.h"
#include "tools/process_limits.h"

namespace hetune {

std::vector<Command>& commands() {
    static std::vector<Command> list;
    return list;
}

RegisterCommand::RegisterCommand(std::string name, std::string description,
                                 std::function<CommandBody(CLI::App& app)> setup) {
    commands().push_back({std::move(name), std::move(description), std::move(setup)});
}

namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

bool is_command(std::string_view name) {
    return std::ranges::any_of(commands(), [&](const Command& c) { return c.name == name; });
}

// Levenshtein distance.
size_t edits_between(std::string_view a, std::string_view b) {
    std::vector<size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 0; i < a.size(); ++i) {
        size_t diagonal = std::exchange(row[0], i + 1);
        for (size_t j = 0; j < b.size(); ++j)
            diagonal = std::exchange(
                row[j + 1], std::min({row[j + 1] + 1, row[j] + 1, diagonal + (a[i] != b[j])}));
    }
    return row.back();
}

const std::string& nearest_command(std::string_view name) {
    return std::ranges::min_element(commands(), {},
                                    [&](const Command& c) { return edits_between(name, c.name); })
        ->name;
}

int run_command(int argc, char** argv) {
    CLI::App app("Compiles the kernels of a language model for the GPU at hand, and runs it.");
    app.name("hetune");
    app.set_version_flag("--version", HETUNE_VERSION);
    app.require_subcommand(1);
    app.footer("`hetune COMMAND --help` has the options and an example.");

    std::ranges::sort(commands(), {}, &Command::name);
    CommandBody chosen;
    for (const Command& command : commands()) {
        CLI::App* sub = app.add_subcommand(command.name, command.description);
        sub->callback([&chosen, body = command.setup(*sub)] { chosen = body; });
    }
    if (argc < 2) {
        fmt::print("{}", app.help());
        return kUsage;
    }
    if (const std::string_view name = argv[1]; !name.starts_with('-') && !is_command(name)) {
        fmt::print(stderr,
                   "hetune: unknown command '{}'; did you mean '{}'? `hetune --help` lists all\n",
                   name, nearest_command(name));
        return kUsage;
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : kUsage;
    }
    return chosen();
}

}  // namespace
}  // namespace hetune

int main(int argc, char** argv) {
    return hetune::run_within_limits([&] {
        try {
            return hetune::run_command(argc, argv);
        } catch (const std::exception& error) {
            fmt::print(stderr, "hetune: {}\n", error.what());
            return hetune::kFailed;
        }
    });
}
