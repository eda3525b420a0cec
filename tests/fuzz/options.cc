// Short texts of options, environment variables and file names: sizes, patterns, URLs, keys.
#include "cache/options.h"

#include "cache/error.h"
#include "cache/key.h"
#include "cache/remote_transport.h"
#include "cache/signing.h"
#include "cache/tile_file.h"
#include "runtime/trial/tuner.h"
#include "tests/fuzz/fuzz.h"

namespace hetune::fuzz {
namespace {

void run(std::string_view bytes) {
    Input input(bytes);
    const std::string_view first = input.until('\n'), rest = input.rest();
    parse_size(first);
    is_layout_name(first);
    matches_glob(first, rest);
    require(matches_glob("*", rest), "* takes everything");
    if (const auto key = CacheKey::from_hex(first))
        require(key->hex() == first, "a key has another text");
    may_throw<CacheError>(
        [&] { require(PublicKey::parse(first).text() == first, "a public key has another text"); });
    may_throw<RemoteError>([&] {
        const UrlParts url = split_url(std::string(first));
        // A text that is shown may hold the password by chance, where host and port meet; it must
        // not depend on the password.
        const std::string behind = url.shown().substr(url.scheme.size() + 3);
        const std::string other = url.scheme + "://" + url.user + ":another@" + behind;
        require(split_url(other).shown() == url.shown(), "what is shown depends on the password");
    });
    may_throw<RemoteError>([&] { make_transport(std::string(first)); });
}

std::vector<std::string> seeds() {
    return {"1.5G\n",
            "gemv*_?a*b\ngemv_fan_aab",
            "redis://user:secret@[::1]:6379/3\n",
            "https://host.example:8080/a/b%20c\n",
            "00112233445566778899aabbccddeeff\n",
            SigningKey::generate().public_key().text()};
}

const RegisterTarget kTarget({"options", run, seeds});

}  // namespace
}  // namespace hetune::fuzz
