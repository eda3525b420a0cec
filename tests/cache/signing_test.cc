// Keys, signed bundles, and what is refused where signatures are asked for.
#include "cache/signing.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>

#include "cache/code_store.h"
#include "cache/error.h"
#include "cache/object_file.h"
#include "cache/remote_object.h"
#include "cache/tile_store.h"
#include "cache/transfer.h"
#include "tests/cache/samples.h"
#include "tests/cache/test_folder.h"

namespace hetune {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

std::string read_text(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void write_text(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

// A bundle of the objects 0 and 1.
std::filesystem::path write_bundle(const TestFolder& folder, const SigningKey* key) {
    const auto source = folder.path() / "source";
    CodeStore store({.folder = source});
    for (int i = 0; i < 2; ++i) store.put(sample_key(i), sample_object(i), sample_parts(i));
    const auto path = folder.path() / "kernels.htb";
    export_bundle(CacheFolder({.folder = source}), {.key = key}, path);
    return path;
}

Trust trust_in(const SigningKey& key) { return parse_trust(key.public_key().text()); }

TEST_CASE("A key is saved for its owner alone and read back; another message or key verifies not") {
    TestFolder folder;
    const auto path = folder.path() / "my key";
    const SigningKey key = SigningKey::generate();
    key.save(path);
    struct stat info;
    REQUIRE(stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    const SigningKey same = SigningKey::load(path);
    CHECK(same.public_key() == key.public_key());
    const Signature signature = same.sign(bytes_of("kernels"));
    CHECK(signature == key.sign(bytes_of("kernels")));
    CHECK(key.public_key().verifies(bytes_of("kernels"), signature));
    CHECK_FALSE(key.public_key().verifies(bytes_of("kernelt"), signature));
    CHECK_FALSE(SigningKey::generate().public_key().verifies(bytes_of("kernels"), signature));
    CHECK_THROWS_AS(key.save(path), CacheError);  // never over another one
    chmod(path.c_str(), 0640);
    CHECK_THROWS_WITH_AS(SigningKey::load(path), doctest::Contains("chmod 600"), CacheError);
    write_text(folder.path() / "public", key.public_key().text());
    chmod((folder.path() / "public").c_str(), 0600);
    CHECK_THROWS_AS(SigningKey::load(folder.path() / "public"), CacheError);
}

TEST_CASE("HETUNE_TRUSTED_KEYS takes keys and files of keys; what it cannot read trusts nobody") {
    TestFolder folder;
    const PublicKey one = SigningKey::generate().public_key();
    const PublicKey two = SigningKey::generate().public_key();
    const PublicKey three = SigningKey::generate().public_key();
    const auto file = (folder.path() / "keys").string();
    write_text(file, "# of the farm\n" + two.text() + " builder\n\n" + three.text() + "\n");
    const Trust trust = parse_trust(one.text() + ":" + file);
    CHECK(trust.required);
    CHECK(trust.keys == std::vector<PublicKey>{one, two, three});
    CHECK(trust.holds(three));
    CHECK_FALSE(trust.holds(SigningKey::generate().public_key()));
    CHECK_FALSE(parse_trust("").required);
    CHECK_THROWS_AS(parse_trust(file + ".missing"), CacheError);
    CHECK_THROWS_AS(parse_trust("hetune-public:short"), CacheError);
    write_text(file, "# nobody\n");
    CHECK_THROWS_AS(parse_trust(file), CacheError);

    setenv("HETUNE_TRUSTED_KEYS", file.c_str(), 1);
    Warnings warnings;
    const CacheOptions options = cache_options_from_environment(warnings.function());
    unsetenv("HETUNE_TRUSTED_KEYS");
    CHECK(options.trust.required);
    CHECK(options.trust.keys.empty());
    CHECK(warnings.list().size() == 1);
}

TEST_CASE("A key that cannot be written to its end leaves no file, so that the next try can") {
    TestFolder folder;
    const auto path = folder.path() / "key";
    const SigningKey key = SigningKey::generate();
    rlimit before{};
    REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
    const auto handler = ::signal(SIGXFSZ, SIG_IGN);
    rlimit small = before;
    small.rlim_cur = 10;
    REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
    std::string said;
    try {
        key.save(path);
    } catch (const CacheError& error) {
        said = error.what();
    }
    setrlimit(RLIMIT_FSIZE, &before);
    ::signal(SIGXFSZ, handler);
    CHECK(said.find(path.string()) != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(path));
    key.save(path);
    CHECK(SigningKey::load(path).public_key() == key.public_key());
}

TEST_CASE("A bundle signed by a trusted key is a layer; unsigned or signed by others it is none") {
    const SigningKey key = SigningKey::generate();
    const SigningKey other = SigningKey::generate();
    const auto served = [&](const SigningKey* signer, const Trust& trust, const char* warning) {
        TestFolder folder;
        const auto path = write_bundle(folder, signer);
        Warnings warnings;
        CodeStore store({.layers = {path}, .trust = trust, .warn = warnings.function()});
        const bool found = store.find(sample_key(1)).has_value();
        CHECK(warnings.list().size() == (found ? 0 : 1));
        if (!found) CHECK(warnings.list().at(0).find(warning) != std::string::npos);
        return found;
    };
    CHECK(served(nullptr, {}, ""));
    CHECK(served(&key, {}, ""));
    CHECK(served(&key, trust_in(key), ""));
    CHECK_FALSE(served(nullptr, trust_in(key), "is not signed"));
    CHECK_FALSE(served(&other, trust_in(key), other.public_key().text().c_str()));
    CHECK_FALSE(served(&key, {.required = true}, "not among"));
}

TEST_CASE("A kernel by another build of the compiler is known, and whether its bundle is trusted") {
    const SigningKey key = SigningKey::generate();
    const auto parts = [](const char* compiler, const char* rows) {
        return KeyParts{
            {"template", "gemv"}, {"arch", "gfx1100"}, {"compiler", compiler}, {"kRows", rows}};
    };
    TestFolder folder;
    {
        CodeStore farm({.folder = folder.path() / "farm"});
        farm.put(sample_key(1), sample_object(1), parts("clang 19 aaaa", "1"));
        farm.put(sample_key(2), sample_object(2), {{"template", "note"}});
    }
    const CacheFolder from({.folder = folder.path() / "farm"});
    const auto bundle = folder.path() / "farm.htb";
    for (const bool is_signed : {true, false}) {
        export_bundle(from, {.key = is_signed ? &key : nullptr}, bundle);
        CodeStore store({.layers = {bundle}, .trust = is_signed ? trust_in(key) : Trust{}});
        const auto build = store.find_other_build(parts("clang 19 bbbb", "1"));
        REQUIRE(build.has_value());
        CHECK(build->key == sample_key(1));
        CHECK(build->compiler == "clang 19 aaaa");
        CHECK(build->place == "layer " + bundle.string());
        CHECK(build->signed_by_us == is_signed);
        CHECK_FALSE(store.find_other_build(parts("clang 19 aaaa", "1")).has_value());
        CHECK_FALSE(store.find_other_build(parts("clang 19 bbbb", "2")).has_value());
        CHECK_FALSE(store.find_other_build(parts("hiprtc 19 bbbb", "1")).has_value());
        CHECK_FALSE(store.find_other_build({{"template", "note"}}).has_value());
    }
}

TEST_CASE("Every flipped byte of a signed bundle is found, and that its signature was cut off") {
    TestFolder folder;
    const SigningKey key = SigningKey::generate();
    const auto path = write_bundle(folder, &key);
    const std::string good = read_text(path);
    const auto right = [&](const std::string& content) {
        write_text(path, content);
        try {
            const Bundle bundle(path, trust_in(key));
            for (const BundleMember& member : bundle.members()) bundle.read(member);
            return bundle.signer() == key.public_key();
        } catch (const CacheError&) {
            return false;
        }
    };
    REQUIRE(right(good));
    for (size_t i = 0; i < good.size(); ++i) {
        std::string bad = good;
        bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
        CAPTURE(i);
        REQUIRE_FALSE(right(bad));
    }
    for (size_t length = 0; length < good.size(); ++length)
        REQUIRE_FALSE(right(good.substr(0, length)));
    // The signature of another bundle, put behind this one.
    TestFolder elsewhere;
    CodeStore({.folder = elsewhere.path() / "source"}).put(sample_key(7), sample_object(7), {});
    const std::string foreign = read_text(write_bundle(elsewhere, &key));
    CHECK_FALSE(right(good.substr(0, good.size() - 104) + foreign.substr(foreign.size() - 104)));
}

TEST_CASE("Tiles of a signed bundle are checked against its signature before they are used") {
    TestFolder folder;
    const auto source = folder.path() / "source";
    {
        TileStore tiles({.folder = source});
        auto writer = tiles.open_or_begin({1, 1}, "l", {{"a", 5000}}).writer;
        REQUIRE(writer.has_value());
        writer->finish_tensor(0, {});
        REQUIRE(writer->commit());
    }
    const SigningKey key = SigningKey::generate();
    const auto path = folder.path() / "b";
    export_bundle(CacheFolder({.folder = source}), {.tiles = true, .key = &key}, path);
    CHECK(TileStore({.layers = {path}, .trust = trust_in(key)}).open({1, 1}, "l").has_value());
    const BundleMember member = Bundle(path).members().back();
    std::string bytes = read_text(path);
    bytes[member.offset + 4096] ^= 1;
    write_text(path, bytes);
    Warnings warnings;
    TileStore store({.layers = {path}, .trust = trust_in(key), .warn = warnings.function()});
    CHECK_FALSE(store.open({1, 1}, "l").has_value());
    CHECK_FALSE(store.open({1, 1}, "l").has_value());
    CHECK(warnings.list().size() == 1);
}

TEST_CASE("Signed bundles are deterministic, and their unsigned part is what it was") {
    TestFolder one, two;
    const SigningKey key = SigningKey::generate();
    const std::string bytes = read_text(write_bundle(one, &key));
    CHECK(bytes == read_text(write_bundle(two, &key)));
    CHECK(bytes.substr(0, bytes.size() - 104) == read_text(write_bundle(two, nullptr)));
}

TEST_CASE("A remote object is bound to its key: every flipped byte and every exchange is found") {
    const SigningKey key = SigningKey::generate();
    const Trust trust = trust_in(key);
    const auto file = encode_object(sample_key(1), sample_object(1), sample_parts(1));
    const auto good = encode_remote_object(sample_key(1), file, &key);
    const auto right = [&](const CacheKey& name, std::span<const std::byte> value) {
        try {
            return decode_remote_object(name, value, trust) == file;
        } catch (const CacheError&) {
            return false;
        }
    };
    REQUIRE(right(sample_key(1), good));
    CHECK_FALSE(right(sample_key(2), good));
    CHECK_FALSE(right(sample_key(1), encode_remote_object(sample_key(1), file, nullptr)));
    const SigningKey other = SigningKey::generate();
    CHECK_FALSE(right(sample_key(1), encode_remote_object(sample_key(1), file, &other)));
    for (size_t i = 0; i < good.size(); ++i) {
        auto bad = good;
        bad[i] ^= static_cast<std::byte>(1 << (i % 8));
        CAPTURE(i);
        REQUIRE_FALSE(right(sample_key(1), bad));
        REQUIRE_FALSE(right(sample_key(1), std::span(good).first(i)));
    }
    // Without keys, damage is found all the same.
    CHECK(decode_remote_object(sample_key(1), good, {}) == file);
    auto bad = good;
    bad.at(good.size() / 2) ^= std::byte{1};
    CHECK_THROWS_AS(decode_remote_object(sample_key(1), bad, {}), CacheError);
}

}  // namespace
}  // namespace hetune
