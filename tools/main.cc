// hetune: the command line. Each subcommand is a file of its own (command.h).
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "tools/command.h"

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
    try {
        return hetune::run_command(argc, argv);
    } catch (const std::exception& error) {
        fmt::print(stderr, "hetune: {}\n", error.what());
        return hetune::kFailed;
    }
}
