// One subcommand of `hetune`, in a file of its own that registers itself:
//
//   RegisterCommand inspect{"inspect", "Prints metadata and tensors of a model file",
//                           [](CLI::App& app) { ...options...; return [=] { ...; return 0; }; }};
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

namespace hetune {

// Exit codes: 0 done, 1 failed (a bad file, a missed gate), 2 wrong usage.
using CommandBody = std::function<int()>;

struct Command {
    std::string name;
    std::string description;
    // Adds the options and gives the body, which runs once they are parsed. Exceptions derived
    // from std::runtime_error become one line on stderr and exit code 1.
    std::function<CommandBody(CLI::App& app)> setup;
};

std::vector<Command>& commands();

struct RegisterCommand {
    RegisterCommand(std::string name, std::string description,
                    std::function<CommandBody(CLI::App& app)> setup);
};

}  // namespace hetune
