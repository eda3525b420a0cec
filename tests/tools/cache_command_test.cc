// `hetune cache ...` as a user runs it.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <fstream>

#include "cache/code_store.h"
#include "tests/cache/samples.h"
#include "tests/cache/test_folder.h"
#include "tests/tools/hetune_command.h"

namespace hetune {
namespace {

CommandResult hetune_cache(const TestFolder& folder, const std::string& arguments) {
    return run_hetune(folder.path() / "cache", "cache " + arguments);
}

void fill(const TestFolder& folder) {
    CodeStore store({.folder = folder.path() / "cache"});
    for (int i = 0; i < 3; ++i) store.put(sample_key(i), sample_object(i), sample_parts(i));
    store.put(sample_key(3), sample_object(3), {{"template", "norm"}});
    store.find(sample_key(0));
    store.find(sample_key(99));
}

TEST_CASE("stats counts objects, hits, misses and time saved") {
    TestFolder folder;
    fill(folder);
    const auto stats = hetune_cache(folder, "stats --json").json();
    CHECK(stats["objects"] == 4);
    CHECK(stats["hits"] == 1);
    CHECK(stats["misses"] == 1);
    CHECK(stats["stored"] == 4);
    CHECK(stats["saved_ms"] == 70.5);
    CHECK(stats["places"] == nlohmann::json::parse(
                                 R"([{"place": "folder", "hits": 1, "saved_ms": 70.5},
                                     {"place": "memory", "hits": 0, "saved_ms": 0},
                                     {"place": "remote", "hits": 0, "saved_ms": 0}])"));
    CHECK(hetune_cache(folder, "stats").output.find("hits          1 of 2 (50.0 %)") !=
          std::string::npos);
}

TEST_CASE("ls lists objects, show prints one by the beginning of its key") {
    TestFolder folder;
    fill(folder);
    CHECK(hetune_cache(folder, "ls --json").json()["objects"].size() == 4);
    CHECK(hetune_cache(folder, "ls --kernel norm --json").json()["objects"].size() == 1);
    const auto shown =
        hetune_cache(folder, "show --json " + sample_key(2).hex().substr(0, 12)).json();
    CHECK(shown["entry"] == "kernel_2");
    CHECK(shown["resources"]["vgprs"] == 24);
    CHECK(shown["parts"]["kRows"] == "2");
    CHECK(hetune_cache(folder, "show 0123456789abcdef").status == 1);
    CHECK(hetune_cache(folder, "show " + sample_key(2).hex()).output.find("kRows") !=
          std::string::npos);
}

TEST_CASE("why names the part of the key that changed") {
    TestFolder folder;
    fill(folder);
    const auto why = hetune_cache(folder, "why gemv --json").json();
    CHECK(why["key"] == sample_key(2).hex());
    CHECK(why["nearest"] == sample_key(1).hex());
    CHECK(why["differences"] ==
          nlohmann::json::parse(R"([{"part": "kRows", "before": "1", "now": "2"}])"));
    CHECK(hetune_cache(folder, "why gemv").output.find("kRows: 1 -> 2") != std::string::npos);
    CHECK(hetune_cache(folder, "why --last").output.find("no norm was stored before") !=
          std::string::npos);
    CHECK(hetune_cache(folder, "why nothing").status == 1);
}

TEST_CASE("verify exits 1 on damage, and --repair mends it") {
    TestFolder folder;
    fill(folder);
    CHECK(hetune_cache(folder, "verify").status == 0);
    std::ofstream(object_path(folder.path() / "cache", sample_key(1))) << "damage";
    CHECK(hetune_cache(folder, "verify").status == 1);
    const auto repaired = hetune_cache(folder, "verify --repair --json");
    CHECK(repaired.status == 0);
    CHECK(repaired.json()["damaged"].size() == 1);
    CHECK(hetune_cache(folder, "verify --json").json()["clean"] == true);
}

TEST_CASE("verify of a model file says whether the cache has tiles of it") {
    TestFolder folder;
    const std::string tiny = HETUNE_TEST_MODELS "/tiny-Q4_K_M.gguf";
    const CommandResult none = hetune_cache(folder, "verify --json " + tiny);
    CHECK(none.status == 0);
    CHECK(none.json()["state"] == "none");
    CHECK(hetune_cache(folder, "verify /nowhere.gguf").status == 1);
}

TEST_CASE("gc shrinks to a size, and refuses a size or an age it cannot read") {
    TestFolder folder;
    fill(folder);
    CHECK(hetune_cache(folder, "gc --age 1h --json").json()["objects"] == 0);
    CHECK(hetune_cache(folder, "gc --size 1.2k --json").json()["objects"] == 2);
    CHECK(hetune_cache(folder, "gc --size 0 --json").json()["objects"] == 2);
    CHECK(hetune_cache(folder, "gc --size much").status == 2);
    CHECK(hetune_cache(folder, "gc --age 30").status == 2);
}

TEST_CASE("export and import carry a cache to another place; clear asks for --yes") {
    TestFolder from;
    TestFolder to;
    fill(from);
    const std::string bundle = (from.path() / "kernels.htb").string();
    CHECK(hetune_cache(from, fmt::format("export -o '{}' --json", bundle)).json()["objects"] == 4);
    CHECK(hetune_cache(to, fmt::format("import '{}' --json", bundle)).json()["objects"] == 4);
    CHECK(hetune_cache(to, fmt::format("import '{}' --json", bundle)).json()["present"] == 4);
    CHECK(hetune_cache(to, "clear").status == 1);
    CHECK(hetune_cache(to, "clear --yes --json").json()["objects"] == 4);
    CHECK(hetune_cache(to, "stats --json").json()["objects"] == 0);
    std::ofstream(bundle, std::ios::trunc) << "no bundle";
    const CommandResult refused = hetune_cache(to, fmt::format("import '{}'", bundle));
    CHECK(refused.status == 1);
    CHECK(std::ranges::count(refused.output, '\n') == 1);
}

TEST_CASE("-o writes to a FIFO, a device and an open file, and replaces a regular one") {
    namespace fs = std::filesystem;
    TestFolder folder;
    fill(folder);
    const fs::path fifo = folder.path() / "fifo", plain = folder.path() / "plain",
                   link = folder.path() / "link";
    const auto bytes = [](const fs::path& path) {
        std::ifstream file(path, std::ios::binary);
        return std::string(std::istreambuf_iterator<char>(file), {});
    };
    const auto permissions = [](const fs::path& path) {
        return static_cast<int>(fs::status(path).permissions());
    };
    REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
    CHECK(hetune_cache(folder, fmt::format("export -o '{}'", plain.string())).status == 0);
    CHECK(run_hetune(folder.path() / "cache",
                     fmt::format("cache export -o '{}' & cat '{}' > '{}.copy'; wait $!",
                                 fifo.string(), fifo.string(), plain.string()))
              .status == 0);
    CHECK(fs::is_fifo(fifo));
    CHECK(!bytes(plain).empty());
    CHECK(bytes(plain.string() + ".copy") == bytes(plain));

    CHECK(hetune_cache(folder, "export -o /dev/null").status == 0);
    CHECK(fs::is_character_file("/dev/null"));
    CHECK(hetune_cache(folder, "export -o /dev/full").says("No space left"));
    CHECK(hetune_cache(folder, "recipes export -o /dev/stdout").says("0 recipes"));

    fs::permissions(plain, fs::perms(0604));
    fs::create_symlink("plain", link);
    std::ofstream(plain) << "old";
    CHECK(hetune_cache(folder, fmt::format("export -o '{}'", link.string())).status == 0);
    CHECK(fs::is_symlink(link));
    CHECK(bytes(plain).starts_with("HTBUNDLE"));
    CHECK(permissions(plain) == 0604);
    const CommandResult nowhere = hetune_cache(folder, "export -o /nonexistent/x.htb");
    CHECK(nowhere.status == 1);
    CHECK(nowhere.says("/nonexistent"));
}

TEST_CASE("a new bundle has the mode that the umask leaves") {
    TestFolder folder;
    fill(folder);
    const mode_t before = umask(027);
    const auto bundle = folder.path() / "x.htb";
    CHECK(hetune_cache(folder, fmt::format("export -o '{}'", bundle.string())).status == 0);
    umask(before);
    CHECK(static_cast<int>(std::filesystem::status(bundle).permissions()) == 0640);
}

TEST_CASE("why and stats tell of a bundle that another build of the compiler made") {
    TestFolder farm, here;
    const KeyParts parts = {
        {"template", "gemv"}, {"arch", "gfx1100"}, {"compiler", "clang of-the-farm 0123"}};
    CodeStore({.folder = farm.path() / "cache"}).put(sample_key(1), sample_object(1), parts);
    const std::string bundle = (farm.path() / "farm.htb").string();
    REQUIRE(hetune_cache(farm, fmt::format("export -o '{}'", bundle)).status == 0);
    const auto with_bundle = [&](const std::string& arguments) {
        return run_hetune(here.path() / "cache", "cache " + arguments,
                          fmt::format("HETUNE_CACHE_PATH='{}'", bundle));
    };
    const CommandResult why = with_bundle("why gemv");
    CHECK(why.status == 0);
    CHECK(why.says("gemv was not compiled here; layers have it"));
    CHECK(why.says("clang of-the-farm 0123"));
    CHECK(with_bundle("why norm").status == 1);
    CHECK(with_bundle("stats --json").json()["layers"][0]["objects"] == 1);

    // Compiled here all the same: the bundle's is what it differs from.
    KeyParts mine = parts;
    mine["compiler"] = "clang of-here 4567";
    CodeStore({.folder = here.path() / "cache"}).put(sample_key(2), sample_object(2), mine);
    CHECK(with_bundle("why gemv").says("compiler: clang of-the-farm 0123 -> clang of-here 4567"));
}

TEST_CASE("a bundle is exported signed, imported where its key is trusted, refused elsewhere") {
    TestFolder from;
    TestFolder to;
    fill(from);
    const std::string key = (from.path() / "farm key").string();
    const auto made = hetune_cache(from, fmt::format("keygen '{}' --json", key)).json();
    CHECK(made["public_key"].get<std::string>().starts_with("hetune-public:"));
    CHECK(hetune_cache(from, fmt::format("keygen '{}'", key)).status == 1);  // not over another
    const std::string bundle = (from.path() / "kernels.htb").string();
    const auto import = [&](const std::string& trusted) {
        return run_hetune(to.path() / "cache", fmt::format("cache import '{}'", bundle),
                          fmt::format("HETUNE_TRUSTED_KEYS='{}'", trusted));
    };
    CHECK(hetune_cache(from, fmt::format("export -o '{}'", bundle)).status == 0);
    const CommandResult unsigned_one = import(key + ".pub");
    CHECK(unsigned_one.status == 1);
    CHECK(unsigned_one.lines() == 1);
    CHECK(unsigned_one.says("not signed"));
    CHECK(hetune_cache(from, fmt::format("export -o '{}' --sign '{}'", bundle, key)).status == 0);
    CHECK(import(made["public_key"]).status == 0);
    CHECK(import(key + ".pub").status == 0);
    CHECK(import("").status == 0);
    const CommandResult unreadable = import("/nonexistent.pub");
    CHECK(unreadable.status == 1);
    CHECK(unreadable.says("/nonexistent.pub cannot be read"));
    CHECK(hetune_cache(from, fmt::format("export -o '{}' --sign '{}.pub'", bundle, key))
              .says("is a public key"));
}

TEST_CASE("what f35a233 exported is imported, or refused with one line that says what to do") {
    TestFolder folder;
    const std::string stored = HETUNE_TEST_F35A233;
    const CommandResult bundle =
        hetune_cache(folder, fmt::format("import '{}/kernels.htb'", stored));
    CHECK(bundle.status == 0);
    CHECK(bundle.says("1 code objects, 0 tile packs, 0 tunings and 0 facts imported"));
    CHECK(bundle.says("5 are left out: they are of another version of hetune"));
    for (const char* file : {"tunings.json", "kernels.htb"}) {
        const CommandResult tunings =
            run_hetune(folder.path() / "cache", fmt::format("tune import '{}/{}'", stored, file));
        CHECK(tunings.status == 1);
        CHECK(tunings.lines() == 1);
        CHECK(
            tunings.says(fmt::format("{}/{}: a tuning result in it cannot be read: it has format "
                                     "1, this hetune reads 2; make it again",
                                     stored, file)));
    }
    std::filesystem::copy(stored + "/folder", folder.path() / "old",
                          std::filesystem::copy_options::recursive);
    std::filesystem::permissions(folder.path() / "old", std::filesystem::perms::owner_all);
    const auto old = [&](const std::string& arguments) {
        return run_hetune(folder.path() / "old", arguments);
    };
    CHECK(old("cache verify").says("5 files are of an older hetune, "));
    CHECK(old("tune ls 2>/dev/null").says("0 results"));
    CHECK(old("cache gc").says("removed 3 code objects"));
    CHECK(old("cache verify").lines() == 1);
}

TEST_CASE("path prints the folder; wrong usage exits 2; every subcommand has help") {
    TestFolder folder;
    CHECK(hetune_cache(folder, "path").output == (folder.path() / "cache").string() + "\n");
    CHECK(hetune_cache(folder, "").status == 2);
    CHECK(hetune_cache(folder, "nonsense").status == 2);
    CHECK(hetune_cache(folder, "show").status == 2);
    for (const char* name :
         {"stats", "ls", "show", "why", "verify", "gc", "export", "import", "path", "clear",
          "keygen", "recipes", "recipes ls", "recipes merge", "recipes export"}) {
        const CommandResult help = hetune_cache(folder, fmt::format("{} --help", name));
        CHECK(help.status == 0);
        CHECK(help.output.find("hetune cache") != std::string::npos);
    }
}

}  // namespace
}  // namespace hetune
