// hetune cache export | import | keygen
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cache/temp_file.h"
#include "cache/transfer.h"
#include "runtime/device/readable_bytes.h"
#include "runtime/load/memory.h"
#include "tools/cache_commands.h"
#include "tools/options.h"

namespace hetune {
namespace {

void say_left_out(const Transferred& done) {
    if (done.other_format > 0)
        fmt::print("{} are left out: they are of another version of hetune\n", done.other_format);
}

}  // namespace

CommandBody cache_export(CLI::App& app) {
    auto selection = std::make_shared<ExportSelection>();
    auto target = std::make_shared<std::string>();
    app.add_option("-o,--output", *target, "The bundle to write")->check(not_empty())->required();
    app.add_option("--arch", selection->archs, "Only kernels for this arch; may be repeated");
    app.add_flag("--tiles", selection->tiles, "Repacked weights too");
    auto key = std::make_shared<std::string>();
    app.add_option("--sign", *key, "Sign it with this key (`hetune cache keygen`)")
        ->check(not_empty());
    app.footer(
        "Example:\n  hetune cache export -o kernels.htb --arch gfx1100\n"
        "  HETUNE_CACHE_PATH=kernels.htb hetune run model.gguf");
    return [selection, target, key, json = json_flag(app)] {
        std::optional<SigningKey> signing;
        if (!key->empty()) signing = SigningKey::load(*key);
        selection->key = signing ? &*signing : nullptr;
        const Transferred done = export_bundle(CacheFolder(cache_options()), *selection, *target);
        if (*json)
            print_json({{"objects", done.objects},
                        {"tile_packs", done.packs},
                        {"tunings", done.tunings},
                        {"facts", done.facts},
                        {"other_format", done.other_format},
                        {"bytes", done.bytes},
                        {"signed", signing.has_value()}});
        else
            fmt::print("{}: {} code objects, {} tile packs, {} tunings, {} facts, {}\n", *target,
                       done.objects, done.packs, done.tunings, done.facts,
                       readable_bytes(done.bundle_bytes));
        if (!*json) say_left_out(done);
        return 0;
    };
}

CommandBody cache_import(CLI::App& app) {
    auto source = std::make_shared<std::string>();
    app.add_option("BUNDLE", *source, "A bundle of `hetune cache export`")
        ->check(not_empty())
        ->required();
    app.footer("Example:\n  hetune cache import kernels.htb");
    return [source, json = json_flag(app)] {
        const CacheOptions options = cache_options();
        CacheFolder folder(options);
        require_writable(folder);
        const Transferred done = import_bundle(folder, Bundle(*source, options.trust));
        if (*json)
            print_json({{"objects", done.objects},
                        {"tile_packs", done.packs},
                        {"tunings", done.tunings},
                        {"facts", done.facts},
                        {"present", done.present},
                        {"other_format", done.other_format},
                        {"bytes", done.bytes}});
        else
            fmt::print(
                "{} code objects, {} tile packs, {} tunings and {} facts imported, {} were there "
                "already\n",
                done.objects, done.packs, done.tunings, done.facts, done.present);
        if (!*json) say_left_out(done);
        return 0;
    };
}

CommandBody cache_keygen(CLI::App& app) {
    auto target = std::make_shared<std::string>();
    app.add_option("FILE", *target, "The secret key to write; FILE.pub gets the public one")
        ->check(not_empty())
        ->required();
    app.footer(
        "The secret key signs bundles (--sign) and what a remote cache is given "
        "(HETUNE_SIGN_KEY).\n"
        "Machines that trust it have its public key, or a file with several, in "
        "HETUNE_TRUSTED_KEYS.\n\n"
        "Example:\n  hetune cache keygen farm.key\n"
        "  hetune prewarm model.gguf --arch gfx1100 -o kernels.htb --sign farm.key\n"
        "  HETUNE_TRUSTED_KEYS=farm.key.pub HETUNE_CACHE_PATH=kernels.htb hetune run model.gguf");
    return [target, json = json_flag(app)] {
        const SigningKey key = SigningKey::generate();
        key.save(*target);
        const std::string text = key.public_key().text() + "\n";
        OutputFile file(*target + ".pub");
        file.write(text);
        file.commit();
        if (*json)
            print_json({{"secret_key", *target},
                        {"public_key_file", *target + ".pub"},
                        {"public_key", key.public_key().text()}});
        else
            fmt::print("{}: keep it secret\n{}.pub: {}", *target, *target, text);
        return 0;
    };
}

}  // namespace hetune
