// A disk that fails: the n-th write, fsync, rename, mmap, ... of a scenario fails, for n = 0, 1, 2
// until none is left to fail. The calls of libc are replaced for the whole program, SQLite
// included.
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>

#include "cache/code_store.h"
#include "cache/error.h"
#include "cache/maintenance.h"
#include "cache/recipe.h"
#include "cache/tile_store.h"
#include "cache/transfer.h"
#include "tests/cache/samples.h"
#include "tests/cache/test_folder.h"

namespace {

struct Fault {
    int calls_left = -1;  // until the failure; -1: none is planned
    int error = 0;
    bool lasting = false;  // all later calls fail too
    bool reached = false;
} fault;

// Whether this call is to fail, with errno set.
bool fails() {
    if (fault.calls_left < 0) return false;
    if (fault.calls_left > 0) {
        --fault.calls_left;
        return false;
    }
    if (!fault.lasting) fault.calls_left = -1;
    fault.reached = true;
    errno = fault.error;
    return true;
}

template <class Function>
Function* real(const char* name) {
    return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

// Torn: the first half reaches the disk.
ssize_t write(int file, const void* bytes, size_t size) {
    static const auto next = real<ssize_t(int, const void*, size_t)>("write");
    if (!fails()) return next(file, bytes, size);
    next(file, bytes, size / 2);
    errno = fault.error;
    return -1;
}

ssize_t pwrite64(int file, const void* bytes, size_t size, off64_t offset) {
    static const auto next = real<ssize_t(int, const void*, size_t, off64_t)>("pwrite64");
    if (!fails()) return next(file, bytes, size, offset);
    next(file, bytes, size / 2, offset);
    errno = fault.error;
    return -1;
}

ssize_t pwrite(int file, const void* bytes, size_t size, off_t offset) {
    return pwrite64(file, bytes, size, offset);
}

ssize_t pread64(int file, void* bytes, size_t size, off64_t offset) {
    static const auto next = real<ssize_t(int, void*, size_t, off64_t)>("pread64");
    return fails() ? -1 : next(file, bytes, size, offset);
}

ssize_t pread(int file, void* bytes, size_t size, off_t offset) {
    return pread64(file, bytes, size, offset);
}

ssize_t read(int file, void* bytes, size_t size) {
    static const auto next = real<ssize_t(int, void*, size_t)>("read");
    return fails() ? -1 : next(file, bytes, size);
}

// Nothing here loses its power: not waiting for the disk makes the test fast.
int fsync(int) { return fails() ? -1 : 0; }
int fdatasync(int) { return fails() ? -1 : 0; }

int rename(const char* from, const char* to) noexcept {
    static const auto next = real<int(const char*, const char*)>("rename");
    return fails() ? -1 : next(from, to);
}

int posix_fallocate(int file, off_t offset, off_t size) {
    static const auto next = real<int(int, off_t, off_t)>("posix_fallocate");
    return fails() ? fault.error : next(file, offset, size);
}

int ftruncate64(int file, off64_t size) noexcept {
    static const auto next = real<int(int, off64_t)>("ftruncate64");
    return fails() ? -1 : next(file, size);
}

int ftruncate(int file, off_t size) noexcept { return ftruncate64(file, size); }

void* mmap64(void* at, size_t size, int protection, int flags, int file, off64_t offset) noexcept {
    static const auto next = real<void*(void*, size_t, int, int, int, off64_t)>("mmap64");
    return fails() ? MAP_FAILED : next(at, size, protection, flags, file, offset);
}

void* mmap(void* at, size_t size, int protection, int flags, int file, off_t offset) noexcept {
    return mmap64(at, size, protection, flags, file, offset);
}

int open64(const char* path, int flags, ...) {
    static const auto next = real<int(const char*, int, ...)>("open64");
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = va_arg(arguments, mode_t);
    va_end(arguments);
    return fails() ? -1 : next(path, flags, mode);
}

int open(const char* path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = va_arg(arguments, mode_t);
    va_end(arguments);
    return open64(path, flags, mode);
}

}  // extern "C"

namespace hetune {
namespace {

constexpr CacheKey kModel{1, 1};

// What a process does with its cache. A miss is fine while the disk fails, a wrong byte is not.
void use_cache(const std::filesystem::path& folder) {
    const auto right_or_absent = [](const std::optional<CodeObject>& code, int number) {
        return !code || *code == sample_object(number);
    };
    CodeStore store({.folder = folder});
    REQUIRE(right_or_absent(store.find(sample_key(1)), 1));
    store.put(sample_key(2), sample_object(2), sample_parts(2));
    REQUIRE(right_or_absent(store.find(sample_key(2)), 2));
    REQUIRE(store.get_or_make(sample_key(3), {}, [] { return sample_object(3); }) ==
            sample_object(3));
    TileStore tiles({.folder = folder});
    if (auto writer = tiles.open_or_begin(kModel, "l", {{"a", 5000}}).writer) {
        const std::vector<std::byte> half(2500, std::byte{7});
        if (writer->write(0, 0, half) && writer->write(0, 2500, half)) {
            writer->finish_tensor(0, {});
            writer->commit();
        }
    }
    if (const auto pack = tiles.open(kModel, "l")) REQUIRE(pack->verify("a"));
}

// Migrates an old index, imports a bundle of the keys 2 and 3, evicts all but one object, records a
// recipe. Import and record may fail; that is said by an exception, and what is whole stays.
void look_after_cache(const std::filesystem::path& folder) {
    CacheFolder cache({.folder = folder});
    try {
        if (!cache.writable().empty())
            import_bundle(cache, Bundle(folder.parent_path() / "bundle"));
    } catch (const CacheError&) {
    } catch (const std::system_error&) {
    }
    try {
        record_recipe(folder, {"m", {{"rows", "1"}}, std::vector<std::byte>(100)});
    } catch (const std::system_error&) {
    }
    evict_objects(cache, 700);
}

void make_bundle(const std::filesystem::path& path) {
    TestFolder source;
    {
        CodeStore store({.folder = source.path()});
        for (const int number : {2, 3}) {
            CodeObject code = sample_object(number);
            store.put(sample_key(number), code, sample_parts(number));
        }
    }
    export_bundle(CacheFolder({.folder = source.path()}), {}, path);
}

// Whatever the order of use, what is there is right.
bool right(CodeStore& store, int number) {
    auto code = store.find(sample_key(number));
    if (!code) return true;
    code->compile_ms = sample_object(number).compile_ms;  // bundles leave it out
    return *code == sample_object(number);
}

// The number of calls that could fail.
int fail_each_call_of_upkeep(int error, bool lasting) {
    for (int n = 0;; ++n) {
        CAPTURE(error);
        CAPTURE(lasting);
        CAPTURE(n);
        TestFolder place;
        const auto folder = place.path() / "cache";
        CodeStore({.folder = folder}).put(sample_key(1), sample_object(1), sample_parts(1));
        make_bundle(place.path() / "bundle");
        Database(folder / "index.db", 1000)
            .execute("DROP TABLE claims; DROP TABLE models; PRAGMA user_version = 1");
        fault = {n, error, lasting, false};
        look_after_cache(folder);
        const bool reached = fault.reached;
        fault = {};

        CacheFolder cache({.folder = folder});
        const VerifyReport report = verify_cache(cache, true);
        REQUIRE(report.damaged.empty());
        REQUIRE(report.index_problem.empty());
        REQUIRE(verify_cache(cache, false).clean());
        CodeStore store({.folder = folder});
        for (const int number : {1, 2, 3}) REQUIRE(right(store, number));
        if (!reached) return n;
    }
}

// The number of calls that could fail.
int fail_each_call(int error, bool lasting) {
    for (int n = 0;; ++n) {
        CAPTURE(error);
        CAPTURE(lasting);
        CAPTURE(n);
        TestFolder place;
        const auto folder = place.path() / "cache";
        CodeStore({.folder = folder}).put(sample_key(1), sample_object(1), sample_parts(1));
        fault = {n, error, lasting, false};
        use_cache(folder);
        const bool reached = fault.reached;
        fault = {};

        CacheFolder cache({.folder = folder});
        const VerifyReport report = verify_cache(cache, true);
        REQUIRE(report.damaged.empty());
        REQUIRE(report.index_problem.empty());
        REQUIRE(verify_cache(cache, false).clean());
        CodeStore store({.folder = folder});
        REQUIRE(store.find(sample_key(1)) == sample_object(1));
        for (const int number : {2, 3}) {
            const auto code = store.find(sample_key(number));
            if (code) REQUIRE(*code == sample_object(number));
        }
        if (!reached) return n;
    }
}

TEST_CASE("Whichever call the disk fails, nothing throws, nothing is damaged, old entries stay") {
    for (const int error : {EIO, ENOSPC, EMFILE})
        for (const bool lasting : {false, true}) CHECK(fail_each_call(error, lasting) > 20);
}

TEST_CASE("The same while an index is migrated, a bundle imported and objects evicted") {
    for (const int error : {EIO, ENOSPC})
        for (const bool lasting : {false, true})
            CHECK(fail_each_call_of_upkeep(error, lasting) > 20);
}

}  // namespace
}  // namespace hetune
