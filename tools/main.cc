// hetune: the command line. Each subcommand is a file of its own (command.h).
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <new>
#include <string_view>
#include <system_error>
#include <utility>

#include "planner/file/errors.h"
#include "tools/command.h"
#include "tools/option_names.h"
#include "tools/options.h"
#include "tools/process_limits.h"
#include "tools/terminal.h"
#include "tools/usage.h"

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

std::vector<std::string> command_names() {
    std::vector<std::string> names = {"help"};
    for (const Command& command : commands()) names.push_back(command.name);
    return names;
}

int fail(std::string_view command, const std::string& why, int status = kFailed) {
    tell("hetune: {}{}{}\n", command, command.empty() ? "" : ": ", with_option_names(why));
    return status;
}

// The system's own words say neither what was attempted nor what helps.
std::string system_text(const std::system_error& error) {
    if (error.what() != error.code().message()) return error.what();  // it names the file
    if (error.code() == std::errc::resource_unavailable_try_again)
        return "no further thread can be started; a smaller -j or a higher `ulimit -u` helps";
    return fmt::format("the system refused: {}", error.what());
}

// Runs a command; every exception becomes one line. Errors of hetune and of the system are derived
// from std::runtime_error and name the file; what else arrives here is a fault of hetune itself.
int guarded(const std::string& command, const CommandBody& body) try {
    return body();
} catch (const UsageError& error) {
    return fail(command, error.what(), kUsage);
} catch (const OptionError& error) {
    return fail("", error.what(), kUsage);
} catch (const std::bad_alloc&) {
    return fail(command, "there is not enough memory; a smaller -c or -j takes less");
} catch (const std::filesystem::filesystem_error& error) {
    return fail(
        command,
        fmt::format("{}: {}", error.path1().empty() ? "the working folder" : error.path1().string(),
                    error.code().message()));
} catch (const std::system_error& error) {
    if (std::ferror(stdout) == 0) return fail(command, system_text(error));
    keep_write_error(error.code().value());  // of fmt::print; close_results() says it
    return kFailed;
} catch (const fmt::format_error& error) {
    return fail(command, fmt::format("a fault of hetune, please report it: {}", error.what()));
} catch (const std::runtime_error& error) {
    return fail("", error.what());
} catch (const std::exception& error) {
    return fail(command, fmt::format("a fault of hetune, please report it: {}", error.what()));
}

int run_command(std::vector<std::string> arguments) {
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
    if (arguments.empty()) {
        fmt::print("{}", app.help());
        return kUsage;
    }
    const std::string name = arguments[0];
    if (name == "help") {  // `hetune help cache stats` is `hetune cache stats --help`
        arguments.erase(arguments.begin());
        arguments.push_back("--help");
    }
    if (const std::vector<std::string> names = command_names();
        !arguments[0].starts_with('-') && std::ranges::find(names, arguments[0]) == names.end()) {
        const std::string meant = nearest(arguments[0], names);
        return fail("",
                    fmt::format("unknown command '{}'; {}`hetune --help` lists all", arguments[0],
                                meant.empty() ? "" : fmt::format("did you mean '{}'? ", meant)),
                    kUsage);
    }
    try {
        app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    } catch (const CLI::CallForVersion& version) {
        fmt::print("{}\n", version.what());
        return 0;
    } catch (const CLI::CallForHelp&) {
        fmt::print("{}", app.help());
        return 0;
    } catch (const CLI::ParseError& error) {
        if (const std::string flag = flag_with_value(app, arguments); !flag.empty())
            return fail("", flag, kUsage);
        return fail("", usage_message(app, error, arguments), kUsage);
    }
    if (const std::string flag = flag_with_value(app, arguments); !flag.empty())
        return fail("", flag, kUsage);
    return guarded(name, chosen);
}

}  // namespace
}  // namespace hetune

int main(int argc, char** argv) {
    hetune::guard_standard_streams();
    const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
    return hetune::close_results(hetune::run_within_limits(
        [&] { return hetune::guarded("", [&] { return hetune::run_command(arguments); }); }));
}
