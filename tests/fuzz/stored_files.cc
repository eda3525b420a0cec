// Binary files of the cache: code objects, tile packs, bundles, prompts, and objects of a remote
// cache.
// Their hashes are made right again, or no change would get past them.
#include <cstring>
#include <nlohmann/json.hpp>

#include "cache/blake2b.h"
#include "cache/bundle.h"
#include "cache/compression.h"
#include "cache/error.h"
#include "cache/object_file.h"
#include "cache/prompt_file.h"
#include "cache/remote_object.h"
#include "cache/tile_file.h"
#include "cache/tile_pack.h"
#include "runtime/engine/prompt_pieces.h"
#include "tests/cache/samples.h"
#include "tests/fuzz/fuzz.h"

namespace hetune::fuzz {
namespace {

template <class T>
void put(std::string& text, size_t at, const T& value) {
    if (at + sizeof(value) <= text.size()) std::memcpy(text.data() + at, &value, sizeof(value));
}

void run_object(std::string_view input) {
    const auto bytes = bytes_of(input);
    decode_object(bytes, sample_key(1));
    const auto info = decode_object_info(bytes);
    if (!info || input.size() < sizeof(CacheKey)) return;
    std::string repaired(input);
    const size_t end = repaired.size() - sizeof(CacheKey);
    put(repaired, end, content_hash(repaired.data(), end));
    if (const auto code = decode_object(bytes_of(repaired), info->key))
        require(code->bytes.size() <= input.size(), "an object larger than its file");
}

std::vector<std::string> object_seeds() {
    CodeObject empty = sample_object(1, 0);
    empty.entry.clear();
    return {text_of(encode_object(sample_key(1), sample_object(1), sample_parts(1))),
            text_of(encode_object(sample_key(2), empty, {}))};
}

constexpr size_t kTileHeadBytes = 64, kTileHashAt = 32, kDirectoryBytesAt = 16, kFileBytesAt = 24;

void run_tiles(std::string_view input) {
    decode_tile_head(bytes_of(input));
    if (input.size() < kTileHeadBytes) return;
    std::string repaired(input);
    put(repaired, kFileBytesAt, uint64_t{repaired.size()});
    uint64_t directory_bytes = 0;
    std::memcpy(&directory_bytes, repaired.data() + kDirectoryBytesAt, sizeof(directory_bytes));
    if (directory_bytes > repaired.size() - kTileHeadBytes) {
        directory_bytes = repaired.size() - kTileHeadBytes;
        put(repaired, kDirectoryBytesAt, directory_bytes);
    }
    put(repaired, kTileHashAt, CacheKey{});
    put(repaired, kTileHashAt, content_hash(repaired.data(), kTileHeadBytes + directory_bytes));
    const auto head = decode_tile_head(bytes_of(repaired));
    if (!head) return;
    for (const TileEntry& entry : head->entries)
        require(entry.offset <= repaired.size() && entry.bytes <= repaired.size() - entry.offset,
                "a tensor outside of its pack");
    const auto opened = TilePack::open_any(scratch_file("pack.tiles", repaired));
    if (!opened.pack) return;
    for (const TileEntry& entry : head->entries) opened.pack->verify(entry.name);
}

std::vector<std::string> tile_seeds() {
    TileHead tiles{.model = sample_key(1), .layout = "v1-gfx1100", .entries = {}};
    std::string small = text_of(encode_tile_head(tiles, 4096));
    small.resize(4096);
    tiles.entries.resize(2);
    tiles.entries[0].name = "a";
    tiles.entries[0].bytes = 100;
    tiles.entries[1].name = "blk.0.b";
    tiles.entries[1].bytes = 5000;
    const uint64_t bytes = lay_out_tiles(tiles);
    std::string file(bytes, 'x');
    for (TileEntry& entry : tiles.entries)
        entry.hash = content_hash(file.data() + entry.offset, entry.bytes);
    const auto head = encode_tile_head(tiles, bytes);
    std::memcpy(file.data(), head.data(), head.size());
    return {file, small};
}

constexpr size_t kBundleHeadBytes = 16, kTrailerBytes = 64;

void read_bundle(const std::string& content) {
    const std::string path = scratch_file("bundle.htb", content);
    may_throw<CacheError>([&] {
        const Bundle bundle(path);
        for (const BundleMember& member : bundle.members())
            may_throw<CacheError>([&] {
                if (member.is_compressed())
                    bundle.read(member);
                else
                    bundle.read(member, [](std::span<const std::byte>) {});
                TilePack::open_member(path, member);
            });
    });
}

// The first byte: 'b' a bundle's bytes, 'm' the text of a manifest, '\n', and the members' bytes.
void run_bundle(std::string_view bytes) {
    Input input(bytes);
    if (input.byte() != 'm') return read_bundle(std::string(input.rest()));
    const std::string_view manifest = input.until('\n');
    std::string file = std::string("HTBUNDLE") + std::string("\1\0\0\0\0\0\0\0", 8);
    file += input.rest();
    const auto stored = compress(bytes_of(manifest));
    std::string trailer(kTrailerBytes, '\0');
    put(trailer, 0, uint64_t{file.size()});
    put(trailer, 8, uint64_t{stored.size()});
    put(trailer, 16, uint64_t{manifest.size()});
    put(trailer, 24, blake2b(stored));
    std::memcpy(trailer.data() + 56, "HTBUNDLE", 8);
    read_bundle(file + text_of(stored) + trailer);
}

std::vector<std::string> bundle_seeds() {
    const std::string path = scratch_folder() + "/seed.htb";
    BundleWriter writer(path);
    const auto object = encode_object(sample_key(1), sample_object(1), sample_parts(1));
    writer.add_object(sample_key(1), object);
    writer.commit();
    const std::string file = file_content(path);
    const Bundle bundle(path);
    const BundleMember& m = bundle.members().at(0);
    const std::string stored = file.substr(m.offset, m.stored_bytes);
    const nlohmann::json manifest = {{"members",
                                      {{{"path", m.path},
                                        {"offset", kBundleHeadBytes},
                                        {"stored", m.stored_bytes},
                                        {"bytes", m.bytes},
                                        {"blake2b", m.blake2b}}}}};
    return {std::string("b").append(file),
            std::string("m").append(manifest.dump()).append("\n").append(stored)};
}

constexpr size_t kRemoteHeadBytes = 152, kRemoteHashAt = 16;

void run_remote(std::string_view input) {
    std::string value(input);
    for (const bool repaired : {false, true}) {
        if (repaired && value.size() >= kRemoteHeadBytes)
            put(value, kRemoteHashAt, blake2b(bytes_of(value).subspan(kRemoteHeadBytes)));
        may_throw<CacheError>([&] {
            const auto file = decode_remote_object(sample_key(1), bytes_of(value), {});
            decode_object(file, sample_key(1));
        });
        may_throw<CacheError>(
            [&] { decode_remote_object(sample_key(1), bytes_of(value), {.required = true}); });
    }
}

std::vector<std::string> remote_seeds() {
    const auto object = encode_object(sample_key(1), sample_object(1), sample_parts(1));
    const SigningKey key = SigningKey::generate();
    return {text_of(encode_remote_object(sample_key(1), object, nullptr)),
            text_of(encode_remote_object(sample_key(1), object, &key))};
}

constexpr size_t kPieceBytesAt = 16, kPieceKeyAt = 24, kPieceHashAt = 40;

void run_prompt(std::string_view input) {
    const CacheKey key = sample_key(1);
    decode_prompt_file(bytes_of(input), key);
    std::string repaired(input);
    if (repaired.size() >= kPromptHeadBytes) {
        put(repaired, kPieceBytesAt, uint64_t{repaired.size() - kPromptHeadBytes});
        put(repaired, kPieceKeyAt, key);
        put(repaired, kPieceHashAt, CacheKey{});
        put(repaired, kPieceHashAt, content_hash(repaired.data(), repaired.size()));
    }
    const auto piece = decode_prompt_file(bytes_of(repaired), key);
    const std::vector<int32_t> tokens = {1, 2, 3};
    for (const auto bytes : {bytes_of(input), piece.value_or(std::span<const std::byte>())})
        for (size_t count = 0; count <= tokens.size(); ++count)
            for (const size_t state_bytes : {0, 8}) {
                const auto parts =
                    parse_piece(bytes, std::span(tokens).first(count), state_bytes, 16);
                if (!parts) continue;
                require(parts->made.size() == count && parts->state.size() == state_bytes &&
                            parts->page.size() <= 16 && parts->page.size() <= bytes.size(),
                        "parts that are no parts of their piece");
            }
}

std::vector<std::string> prompt_seeds() {
    std::vector<std::string> seeds;
    const int32_t tokens[] = {1, 2, 3};
    for (const size_t state_bytes : {0, 8}) {
        std::string piece = text_of(std::as_bytes(std::span(tokens)));
        piece += std::string(3, '\0') + std::string(state_bytes, 's') + std::string(16, 'p');
        const auto head = encode_prompt_head(sample_key(1), bytes_of(piece));
        seeds.push_back(text_of(head) + piece);
    }
    return seeds;
}

const RegisterTarget kPrompt({"prompt", run_prompt, prompt_seeds});
const RegisterTarget kObject({"object", run_object, object_seeds});
const RegisterTarget kTiles({"tiles", run_tiles, tile_seeds});
const RegisterTarget kBundle({"bundle", run_bundle, bundle_seeds});
const RegisterTarget kRemote({"remote", run_remote, remote_seeds});

}  // namespace
}  // namespace hetune::fuzz
