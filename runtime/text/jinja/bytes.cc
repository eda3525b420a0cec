// Python's bytes, as str.encode() gives them: a sequence of numbers.
#include <algorithm>

#include "runtime/text/jinja/builtins.h"
#include "runtime/text/jinja/text.h"
#include "runtime/text/utf8.h"

namespace hetune::jinja {
namespace {

struct Encoding {
    uint32_t limit;  // code points below have one byte; 0: UTF-8
    std::string errors;
};

Encoding encoding_of(const Arguments& arguments) {
    arguments.check({"encoding", "errors"});
    const Value* given = arguments.find(0, "encoding");
    const Value* errors = arguments.find(1, "errors");
    const std::string name = given == nullptr ? "utf-8" : lower(given->as_text());
    const std::string plain = replace(replace(name, "-", "", -1), "_", "", -1);
    Encoding encoding{0, errors == nullptr ? "strict" : errors->as_text()};
    if (plain == "ascii" || plain == "usascii")
        encoding.limit = 0x80;
    else if (plain == "latin1" || plain == "iso88591" || plain == "l1")
        encoding.limit = 0x100;
    else if (plain != "utf8" && plain != "u8")
        throw Fault(
            fmt::format("there is no encoding '{}'; there are utf-8, ascii and latin-1", name));
    if (encoding.errors != "strict" && encoding.errors != "ignore" && encoding.errors != "replace")
        throw Fault(
            fmt::format("there is no way '{}' to treat errors; there are strict, ignore "
                        "and replace",
                        encoding.errors));
    return encoding;
}

// `mark` stands for what cannot be converted.
void add_mark(std::string& out, const Encoding& encoding, std::string_view mark,
              std::string_view what) {
    if (encoding.errors == "strict") throw Fault(fmt::format("the encoding has no such {}", what));
    if (encoding.errors == "replace") out += mark;
}

Value decode(const Value& self, const Arguments& arguments) {
    const Encoding encoding = encoding_of(arguments);
    const std::string source = bytes_of(self);
    std::string out;
    if (encoding.limit == 0) {
        for (std::string_view rest = source; !rest.empty();) {
            const Utf8Sequence sequence = first_utf8(rest);
            const auto size = static_cast<size_t>(sequence.bytes);
            if (sequence.state == Utf8State::kValid)
                out += rest.substr(0, size);
            else
                add_mark(out, encoding, kReplacementUtf8, "bytes");
            rest.remove_prefix(size);
        }
        return Value::text(std::move(out));
    }
    for (const char c : source) {
        const auto byte = static_cast<uint8_t>(c);
        if (byte < encoding.limit)
            append_utf8(out, byte);
        else
            add_mark(out, encoding, kReplacementUtf8, "bytes");
    }
    return Value::text(std::move(out));
}

Value hex(const Value& self, const Arguments& arguments) {
    arguments.check({});
    std::string out;
    for (const char c : bytes_of(self)) out += fmt::format("{:02x}", static_cast<uint8_t>(c));
    return Value::text(std::move(out));
}

}  // namespace

Value make_bytes(std::string_view bytes) {
    std::vector<Value> numbers;
    for (const char c : bytes) numbers.push_back(Value::of(static_cast<uint8_t>(c)));
    const Value made = Value::list(std::move(numbers));
    made.sequence()->kind = Sequence::Kind::kBytes;
    return made;
}

std::string bytes_of(const Value& value) {
    std::string bytes;
    for (const Value& number : value.sequence()->items)
        bytes += static_cast<char>(number.as_int64());
    return bytes;
}

Value encode(const Value& self, const Arguments& arguments) {
    const Encoding encoding = encoding_of(arguments);
    if (encoding.limit == 0) return make_bytes(self.as_text());
    std::string out;
    for (std::string_view character : characters(self.as_text())) {
        const Utf8Sequence sequence = first_utf8(character);
        if (sequence.state == Utf8State::kValid && sequence.code_point < encoding.limit)
            out += static_cast<char>(sequence.code_point);
        else
            add_mark(out, encoding, "?", "character");
    }
    return make_bytes(out);
}

Value find_bytes_method(const Value& bytes, std::string_view name) {
    using Method = Value (*)(const Value&, const Arguments&);
    const Method method = name == "decode" ? decode : name == "hex" ? hex : Method();
    if (method == nullptr) return Value();
    return Value::function(std::string(name), [bytes, method](const Arguments& arguments) {
        return method(bytes, arguments);
    });
}

}  // namespace hetune::jinja
