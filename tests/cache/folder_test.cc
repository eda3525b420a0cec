// The writable folder: whose it is, who else can write there, and what happens where it is refused.
#include "cache/folder.h"

#include <doctest/doctest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "cache/code_store.h"
#include "tests/cache/child_process.h"
#include "tests/cache/samples.h"
#include "tests/cache/test_folder.h"
#include "tests/skip.h"

namespace hetune {
namespace {

constexpr uid_t kNobody = 65534;

// Root passes every permission test, so these run in a child that has given up its rights.
int as_nobody(const std::filesystem::path& folder, const std::function<int()>& body) {
    return wait_for_child(start_child([&] {
        if (getuid() == 0) {
            if (chown(folder.c_str(), kNobody, kNobody) != 0) return 90;
            if (setgid(kNobody) != 0 || setuid(kNobody) != 0) return 91;
        }
        return body();
    }));
}

// A store that must still work, in memory, having said `said` and nothing else.
int works_in_memory(const CacheOptions& options, const std::string& said) {
    CacheOptions with_warnings = options;
    Warnings warnings;
    with_warnings.warn = warnings.function();
    CodeStore store(with_warnings);
    if (store.find(sample_key(2)).has_value()) return 1;
    store.put(sample_key(1), sample_object(1), sample_parts(1));
    if (store.find(sample_key(1)) != sample_object(1)) return 2;
    store.put(sample_key(3), sample_object(3), sample_parts(3));
    if (store.statistics().stored != 0) return 3;
    if (warnings.list().size() != 1) return 4;
    if (warnings.list()[0].find(said) == std::string::npos) return 5;
    return 0;
}

TEST_CASE("A folder that others can write to is refused") {
    TestFolder folder;
    for (const mode_t mode : {0770, 0707, 0777}) {
        chmod(folder.path().c_str(), mode);
        CHECK(works_in_memory({.folder = folder.path()}, "others can write") == 0);
    }
    chmod(folder.path().c_str(), 0700);
    std::filesystem::create_directory(folder.path() / "objects");
    chmod((folder.path() / "objects").c_str(), 0777);
    CHECK(works_in_memory({.folder = folder.path()}, "others can write") == 0);
}

TEST_CASE("A folder below one that everybody can write to is refused") {
    TestFolder folder;
    chmod(folder.path().c_str(), 0777);
    CHECK(works_in_memory({.folder = folder.path() / "cache"}, "everybody can write") == 0);
    chmod(folder.path().c_str(), 01777);  // sticky, as /tmp is
    CHECK(prepare_cache_folder(folder.path() / "cache").use == FolderUse::kWritable);
}

TEST_CASE("A folder of somebody else is refused, also through a symbolic link") {
    if (getuid() != 0) return testing::skip("needs root to give a folder away");
    TestFolder folder;
    const auto theirs = folder.path() / "theirs";
    std::filesystem::create_directory(theirs);
    REQUIRE(chown(theirs.c_str(), 12345, 12345) == 0);
    std::filesystem::create_symlink(theirs, folder.path() / "link");
    CHECK(works_in_memory({.folder = theirs}, "belongs to user 12345") == 0);
    CHECK(works_in_memory({.folder = folder.path() / "link"}, "belongs to user 12345") == 0);
    CHECK(works_in_memory({.folder = theirs / "cache"}, "belongs to user 12345") == 0);
}

TEST_CASE("A layer of somebody else is not used, root's is") {
    if (getuid() != 0) return testing::skip("needs root to give a folder away");
    TestFolder layer;
    CodeStore({.folder = layer.path()}).put(sample_key(1), sample_object(1), {});
    CHECK(check_layer(layer.path()).use == FolderUse::kReadOnly);
    REQUIRE(chown(layer.path().c_str(), 12345, 12345) == 0);
    Warnings warnings;
    CodeStore store({.layers = {layer.path()}, .warn = warnings.function()});
    CHECK_FALSE(store.find(sample_key(1)).has_value());
    CHECK(warnings.list().size() == 1);
}

TEST_CASE("A layer whose objects others can replace is not used") {
    TestFolder layer;
    CodeStore({.folder = layer.path()}).put(sample_key(1), sample_object(1), {});
    chmod((layer.path() / "objects").c_str(), 0777);
    CHECK_FALSE(CodeStore({.layers = {layer.path()}}).find(sample_key(1)).has_value());
}

TEST_CASE("A link to a folder of ours is followed") {
    TestFolder folder;
    std::filesystem::create_directory(folder.path() / "real");
    std::filesystem::create_symlink(folder.path() / "real", folder.path() / "link");
    CodeStore store({.folder = folder.path() / "link"});
    store.put(sample_key(1), sample_object(1), {});
    CHECK(std::filesystem::exists(object_path(folder.path() / "real", sample_key(1))));
}

TEST_CASE("A folder whose name is a circle of links gives a store in memory") {
    TestFolder folder;
    std::filesystem::create_symlink(folder.path() / "b", folder.path() / "a");
    std::filesystem::create_symlink(folder.path() / "a", folder.path() / "b");
    CHECK(works_in_memory({.folder = folder.path() / "a"}, "a") == 0);
    CHECK(works_in_memory({.folder = folder.path() / "a" / "cache"}, "a") == 0);
    CHECK_FALSE(CodeStore({.layers = {folder.path() / "b"}}).find(sample_key(1)).has_value());
}

TEST_CASE("A folder that cannot be made or is a file gives a store in memory") {
    TestFolder folder;
    std::ofstream(folder.path() / "file") << "x";
    CHECK(works_in_memory({.folder = folder.path() / "file"}, "is no folder") == 0);
    CHECK(works_in_memory({.folder = folder.path() / "file" / "below"}, "file") == 0);
    CHECK(works_in_memory({.folder = "/proc/hetune"}, "cannot be made") == 0);
}

TEST_CASE("A folder without write permission serves what it has and keeps the rest in memory") {
    TestFolder folder;
    const auto status = as_nobody(folder.path(), [&] {
        {
            CodeStore store({.folder = folder.path()});
            store.put(sample_key(7), sample_object(7), {});
        }
        for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
            if (entry.is_directory()) chmod(entry.path().c_str(), 0500);
        chmod(folder.path().c_str(), 0500);
        const int status = works_in_memory({.folder = folder.path()}, "read-only");
        if (status != 0) return status;
        CodeStore store({.folder = folder.path()});
        return store.find(sample_key(7)) == sample_object(7) ? 0 : 6;
    });
    CHECK(status == 0);
}

TEST_CASE("A folder that may not be entered gives a store in memory") {
    TestFolder folder;
    CHECK(as_nobody(folder.path(), [&] {
              chmod(folder.path().c_str(), 0000);
              return works_in_memory({.folder = folder.path() / "cache"}, "Permission denied");
          }) == 0);
}

TEST_CASE("A store opened read-only never writes, not even its folder") {
    TestFolder folder;
    {
        CodeStore store({.folder = folder.path(), .read_only = true});
        store.put(sample_key(1), sample_object(1), {});
        CHECK(store.find(sample_key(1)) == sample_object(1));
    }
    CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("A path with spaces, quotes and Unicode works") {
    TestFolder folder;
    const auto odd = folder.path() / "Käse 'n \"tunings\" 调优 %20?#";
    {
        CodeStore store({.folder = odd});
        store.put(sample_key(1), sample_object(1), {});
    }
    CHECK(CodeStore({.folder = odd}).find(sample_key(1)) == sample_object(1));
    CHECK(Index::open(odd, true, {})->object_count() == 1);
}

bool mount_small_disk(const std::filesystem::path& folder, unsigned long flags) {
    return mount("hetune", folder.c_str(), "tmpfs", flags, "size=256k,mode=0700") == 0;
}

TEST_CASE("A full disk keeps new objects in memory and old ones readable") {
    TestFolder folder;
    if (!mount_small_disk(folder.path(), 0)) return testing::skip("may not mount a tmpfs");
    Warnings warnings;
    int stored = 0;
    {
        CodeStore store({.folder = folder.path(), .warn = warnings.function()});
        constexpr int kObjects = 40;
        for (int i = 0; i < kObjects; ++i)
            store.put(sample_key(i), sample_object(i, 16384), sample_parts(i));
        for (int i = 0; i < kObjects; ++i)
            CHECK(store.find(sample_key(i)) == sample_object(i, 16384));
        stored = static_cast<int>(store.statistics().stored);
        CHECK(stored < kObjects);
        REQUIRE(warnings.list().size() == 1);  // for objects and index together
        CHECK(warnings.list()[0].find("the disk is full") != std::string::npos);
    }
    {
        CodeStore later({.folder = folder.path()});
        int found = 0;
        for (int i = 0; i < 40; ++i) {
            const auto code = later.find(sample_key(i));
            if (code) CHECK(*code == sample_object(i, 16384));
            found += code.has_value();
        }
        CHECK(found == stored);
        CHECK(std::filesystem::is_empty(folder.path() / "tmp"));
    }
    umount(folder.path().c_str());
}

TEST_CASE("A read-only mount serves what it has") {
    TestFolder folder;
    if (!mount_small_disk(folder.path(), 0)) return testing::skip("may not mount a tmpfs");
    CodeStore({.folder = folder.path()}).put(sample_key(7), sample_object(7), {});
    REQUIRE(mount(nullptr, folder.path().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0);
    CHECK(works_in_memory({.folder = folder.path()}, "Read-only file system") == 0);
    CHECK(CodeStore({.folder = folder.path()}).find(sample_key(7)) == sample_object(7));
    umount(folder.path().c_str());
}

}  // namespace
}  // namespace hetune
