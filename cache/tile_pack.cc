#include "cache/tile_pack.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace hetune {

Mapping::Mapping(const FileHandle& file, uint64_t bytes, bool writable, uint64_t offset) {
    void* start = mmap(nullptr, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED,
                       file.get(), static_cast<off_t>(offset));
    if (start == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
    bytes_ = {static_cast<std::byte*>(start), bytes};
}

Mapping::~Mapping() {
    if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

TilePack::Opened TilePack::open(const std::filesystem::path& path) {
    Opened opened = open_any(path);
    if (opened.pack && opened.pack->check_name() != State::kGood) return {State::kDamaged, {}};
    return opened;
}

TilePack::Opened TilePack::open_any(const std::filesystem::path& path) try {
    TilePack pack;
    pack.path_ = path;
    pack.file_ = FileHandle(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!pack.file_)
        return {errno == ENOENT || errno == ENOTDIR ? State::kAbsent : State::kUnreadable, {}};
    struct stat info;
    if (fstat(pack.file_.get(), &info) != 0) return {State::kUnreadable, {}};
    if (!S_ISREG(info.st_mode) || info.st_size == 0) return {State::kDamaged, {}};
    flock(pack.file_.get(), LOCK_SH | LOCK_NB);
    const State state = pack.map(0, static_cast<uint64_t>(info.st_size));
    if (state != State::kGood) return {state, {}};
    return {State::kGood, std::move(pack)};
} catch (const std::system_error&) {
    return {State::kUnreadable, {}};
}

TilePack::Opened TilePack::open_member(const std::filesystem::path& bundle,
                                       const BundleMember& member) try {
    TilePack pack;
    pack.path_ = bundle / member.path;
    pack.file_ = FileHandle(::open(bundle.c_str(), O_RDONLY | O_CLOEXEC));
    if (!pack.file_) return {State::kUnreadable, {}};
    if (member.bytes == 0) return {State::kDamaged, {}};
    State state = pack.map(member.offset, member.bytes);
    if (state == State::kGood) state = pack.check_name();
    if (state != State::kGood) return {state, {}};
    return {State::kGood, std::move(pack)};
} catch (const std::system_error&) {
    return {State::kUnreadable, {}};
}

TilePack::State TilePack::map(uint64_t offset, uint64_t bytes) {
    offset_ = offset;
    mapping_ = Mapping(file_, bytes, false, offset);
    auto head = decode_tile_head(mapping_.bytes());
    if (!head) {
        const uint32_t version = pack_version(mapping_.bytes());
        if (version == 0 || version == kTilesVersion) return State::kDamaged;
        return version < kTilesVersion ? State::kOlder : State::kNewer;
    }
    head_ = *std::move(head);
    for (size_t i = 0; i < entries().size(); ++i) by_name_.emplace(entries()[i].name, i);
    return State::kGood;
}

TilePack::State TilePack::check_name() const {
    const bool own = path_.stem() == layout() && path_.parent_path().filename() == model().hex();
    return own ? State::kGood : State::kDamaged;
}

std::span<const std::byte> TilePack::tensor(std::string_view name) const {
    const TileEntry* entry = find(name);
    return entry == nullptr ? std::span<const std::byte>()
                            : mapping_.bytes().subspan(entry->offset, entry->bytes);
}

const TileEntry* TilePack::find(std::string_view name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : &entries()[found->second];
}

bool TilePack::verify(std::string_view name) const {
    const TileEntry* entry = find(name);
    const auto bytes = tensor(name);
    return entry != nullptr && content_hash(bytes.data(), bytes.size()) == entry->hash;
}

bool TilePack::verify_all() const {
    return std::ranges::all_of(entries(),
                               [this](const TileEntry& entry) { return verify(entry.name); });
}

TileReader::TileReader(const TilePack& pack, const TileEntry& entry)
    : file_(pack.file_.get()),
      next_(pack.offset_ + entry.offset),
      end_(next_ + entry.bytes),
      wanted_(entry.hash) {}

void TileReader::read(std::span<std::byte> to) {
    for (std::span<std::byte> rest = to; !rest.empty() && !failed_;) {
        const ssize_t got = pread(file_, rest.data(), rest.size(), static_cast<off_t>(next_));
        failed_ = got == 0 || (got < 0 && errno != EINTR) || next_ + rest.size() > end_;
        if (got <= 0) continue;
        next_ += static_cast<uint64_t>(got);
        rest = rest.subspan(static_cast<size_t>(got));
    }
    hash_.add(to);
}

bool TileReader::good() const { return !failed_ && next_ == end_ && hash_.value() == wanted_; }

}  // namespace hetune
