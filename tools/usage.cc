#include "tools/usage.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace hetune {
namespace {

// Insertions, deletions, substitutions and swaps of neighbours that make `b` of `a`
// (optimal string alignment).
size_t edits_between(std::string_view a, std::string_view b) {
    std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
    for (size_t i = 0; i <= a.size(); ++i)
        for (size_t j = 0; j <= b.size(); ++j) {
            if (i == 0 || j == 0) {
                cost[i][j] = i + j;
                continue;
            }
            cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1,
                                   cost[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
        }
    return cost[a.size()][b.size()];
}

// Options of other programs whose name here is no neighbour of theirs.
const std::map<std::string, std::string, std::less<>>& habits() {
    static const std::map<std::string, std::string, std::less<>> names = {
        {"--n-predict", "--tokens"},
        {"--predict", "--tokens"},
        {"--max-tokens", "--tokens"},
        {"-s", "--seed"},
        {"-sys", "--system"},
        {"--repeat-last-n", "--repeat-window"},
        {"-ctk", "--kv"},
        {"-ctv", "--kv"},
        {"--cache-type-k", "--kv"},
        {"--cache-type-v", "--kv"},
        {"-ub", "--prefill-rows"},
        {"--ubatch-size", "--prefill-rows"},
        {"-cnv", "--chat"},
        {"-dev", "--backend"},
        {"--device", "--backend"},
        {"--ignore-eos", "--ignore-end"}};
    return names;
}

// The command whose options were being read, and its name: "cache stats".
const CLI::App& deepest(const CLI::App& app, std::string& name) {
    const CLI::App* at = &app;
    for (;;) {
        const auto parsed = at->get_subcommands();
        if (parsed.empty()) return *at;
        at = parsed.back();
        name += (name.empty() ? "" : " ") + at->get_name();
    }
}

std::vector<const CLI::Option*> all_options(const CLI::App& app) {
    std::vector<const CLI::Option*> options = app.get_options();
    for (const CLI::App* group : app.get_subcommands([](const CLI::App*) { return true; }))
        if (group->get_name().empty())
            for (const CLI::Option* option : all_options(*group)) options.push_back(option);
    return options;
}

std::vector<std::string> option_names(const CLI::App& app) {
    std::vector<std::string> names;
    for (const CLI::Option* option : all_options(app)) {
        for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
        for (const std::string& name : option->get_snames()) names.push_back("-" + name);
    }
    return names;
}

bool takes_model_file(const CLI::App& app) {
    return std::ranges::any_of(all_options(app), [](const CLI::Option* option) {
        return option->get_name(true) == "FILE";
    });
}

std::string unknown_option(const CLI::App& app, const std::string& command, std::string typed) {
    typed = typed.substr(0, typed.find('='));
    const std::vector<std::string> names = option_names(app);
    std::string meant = nearest(typed, names);
    if (const auto habit = habits().find(typed);
        habit != habits().end() && std::ranges::find(names, habit->second) != names.end())
        meant = habit->second;
    if ((typed == "-m" || typed == "--model") && takes_model_file(app))
        return fmt::format("unknown option {}; the model file stands without an option", typed);
    if (!meant.empty()) return fmt::format("unknown option {}; did you mean {}?", typed, meant);
    return fmt::format("unknown option {}; `hetune {}--help` lists all", typed,
                       command.empty() ? "" : command + " ");
}

// CLI11 reads "-ngl" as -n with the value "gl". A word behind one dash whose first letter is an
// option that takes no text is an unknown option.
std::string glued_option(const CLI::App& app, const std::vector<std::string>& arguments) {
    for (const std::string& argument : arguments) {
        if (argument == "--") return {};
        if (argument.size() < 3 || argument[0] != '-' ||
            !std::all_of(argument.begin() + 1, argument.end(),
                         [](unsigned char c) { return std::isalpha(c) || c == '-'; }) ||
            argument[1] == '-')
            continue;
        for (const CLI::Option* option : all_options(app))
            if (option->check_sname(argument.substr(1, 1)) && option->get_type_name() != "TEXT" &&
                option->get_items_expected_max() > 0)
                return argument;
    }
    return {};
}

}  // namespace

std::string nearest(std::string_view typed, const std::vector<std::string>& names) {
    std::string best;
    size_t least = typed.size() <= 4 ? 2 : typed.size() <= 9 ? 3 : 4;  // one below is near enough
    for (const std::string& name : names) {
        const size_t edits = edits_between(typed, name);
        // "--temperature" for --temp, "--ctx-size" for --ctx.
        const bool longer = name.size() >= 5 && typed.starts_with(name);
        if (edits >= least && !longer) continue;
        least = std::min(least, edits);
        best = name;
        if (longer) break;
    }
    return best;
}

std::string usage_message(const CLI::App& app, const CLI::ParseError& error,
                          const std::vector<std::string>& arguments) {
    std::string name;
    const CLI::App& command = deepest(app, name);
    const auto line = [&](const std::string& what) {
        return (name.empty() ? "" : name + ": ") + what;
    };
    const std::string help = fmt::format("`hetune {}--help`", name.empty() ? "" : name + " ");
    const std::string text = error.what();

    const std::vector<std::string> unread = command.remaining();
    for (const std::string& argument : unread)
        if (argument.size() > 1 && argument[0] == '-')
            return line(unknown_option(command, name, argument));
    if (dynamic_cast<const CLI::ValidationError*>(&error) != nullptr ||
        dynamic_cast<const CLI::ConversionError*>(&error) != nullptr)
        if (const std::string glued = glued_option(command, arguments); !glued.empty())
            return line(unknown_option(command, name, glued));
    // A command with subcommands.
    std::vector<std::string> below;
    for (const CLI::App* sub : command.get_subcommands([](const CLI::App*) { return true; }))
        if (!sub->get_name().empty()) below.push_back(sub->get_name());
    if (!below.empty()) {
        if (unread.empty()) return line(fmt::format("a command is missing; {} lists all", help));
        const std::string meant = nearest(unread[0], below);
        return line(fmt::format("unknown command '{}'; {}{} lists all", unread[0],
                                meant.empty() ? "" : fmt::format("did you mean '{}'? ", meant),
                                help));
    }
    if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !unread.empty())
        return line(fmt::format("unexpected argument '{}'; {} has an example", unread[0], help));
    if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) {
        // "Exactly 1 option from [--text,--text-file] is required", or "FILE is required".
        const size_t open = text.find('['), close = text.rfind(']');
        if (open == std::string::npos || close == std::string::npos)
            return line(fmt::format("{} is missing; {} has an example",
                                    text.substr(0, text.find(" is required")), help));
        std::string list;
        for (const char c : text.substr(open + 1, close - open - 1))
            list += c == ',' ? std::string(", ") : std::string(1, c);
        const bool too_many = text.find("given") != std::string::npos;
        return line(too_many ? fmt::format("only one of {} may be given", list)
                             : fmt::format("one of {} is needed", list));
    }
    if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr)
        return line(text.substr(0, text.find(':')) + (text.find("At Most") == std::string::npos
                                                          ? " needs a value"
                                                          : " stands more than once"));
    // CLI11's own words are "--a excludes --b", "--a requires --b" and "Could not convert: --a =
    // x".
    const bool excluded = dynamic_cast<const CLI::ExcludesError*>(&error) != nullptr;
    const bool required = dynamic_cast<const CLI::RequiresError*>(&error) != nullptr;
    if (const size_t at = text.find(" excludes "); excluded && at != std::string::npos)
        return line(text + ": give one of them");
    if (const size_t at = text.find(" requires "); required && at != std::string::npos)
        return line(fmt::format("{} needs {}", text.substr(0, at),
                                text.substr(at + std::string(" requires ").size())));
    if (dynamic_cast<const CLI::ConversionError*>(&error) != nullptr)
        return line(fmt::format("{} is no value of its option; {} lists all",
                                text.substr(std::min(text.size(), text.find(": ") + 2)), help));
    return line(text);
}

std::string flag_with_value(const CLI::App& app, const std::vector<std::string>& arguments) {
    std::string name;
    const CLI::App& command = deepest(app, name);
    for (const std::string& argument : arguments) {
        if (argument == "--") break;
        const size_t equals = argument.find('=');
        if (!argument.starts_with("--") || equals == std::string::npos) continue;
        for (const CLI::Option* option : all_options(command))
            if (option->get_items_expected_max() == 0 &&
                option->check_lname(argument.substr(2, equals - 2)))
                return fmt::format("{}{}{} takes no value", name, name.empty() ? "" : ": ",
                                   argument.substr(0, equals));
    }
    return {};
}

}  // namespace hetune
