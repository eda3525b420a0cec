// Messages between a compile worker and its parent, in pieces of any size.
#include "runtime/compile/worker_protocol.h"
#include "tests/fuzz/fuzz.h"

namespace hetune::fuzz {
namespace {

void run(std::string_view bytes) {
    Input input(bytes);
    const size_t piece = input.byte() + size_t{1};
    MessageReader reader;
    may_throw<ProtocolError>([&] {
        for (std::string_view rest = input.rest(); !rest.empty();) {
            reader.feed(rest.substr(0, piece));
            rest.remove_prefix(std::min(piece, rest.size()));
            while (const auto message = reader.take())
                require(message->header.is_object(), "a header that is no object");
        }
    });
}

std::vector<std::string> seeds() {
    const std::string request = encode(
        {{{"do", "compile"}, {"entry", "k"}, {"arch", "gfx1100"}, {"options", {"-O3"}}}, "source"});
    const std::string answer = encode({{{"status", "done"}, {"log", ""}}, std::string(40, '\x7f')});
    return {'\x07' + request + answer, '\xff' + answer,
            '\x00' + encode({{{"status", "failed"}}, ""})};
}

const RegisterTarget kTarget({"worker", run, seeds});

}  // namespace
}  // namespace hetune::fuzz
