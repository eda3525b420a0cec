#include "runtime/text/jinja/json_input.h"

#include <nlohmann/json.hpp>

namespace hetune::jinja {
namespace {

// What nlohmann's parser calls for each part of a text.
class Reader : public nlohmann::json_sax<Json> {
  public:
    bool null() override { return add(Value::none()); }
    bool boolean(bool value) override { return add(Value::of(value)); }
    bool number_integer(int64_t value) override { return add(Value::of(Integer(value))); }
    bool number_unsigned(uint64_t value) override {
        return add(Value::of(Integer::of_unsigned(value)));
    }
    bool number_float(double value, const std::string& digits) override {
        // An integer that fits no machine word comes here too.
        if (digits.find_first_of(".eE") == std::string::npos && digits.size() < 4300)
            if (const auto whole = Integer::parse(digits, 10)) return add(Value::of(*whole));
        return add(Value::of(value));
    }
    bool string(std::string& text) override { return add(Value::text(std::move(text))); }
    bool binary(nlohmann::json::binary_t&) override { return false; }
    bool start_object(size_t) override { return open(true); }
    bool start_array(size_t) override { return open(false); }
    bool key(std::string& text) override {
        open_.back().key = Value::text(std::move(text));
        return true;
    }
    bool end_object() override {
        auto dict = std::move(open_.back().dict);
        open_.pop_back();
        return add(Value::of(std::move(dict)));
    }
    bool end_array() override {
        std::vector<Value> items = std::move(open_.back().items);
        open_.pop_back();
        return add(Value::list(std::move(items)));
    }
    bool parse_error(size_t position, const std::string&,
                     const nlohmann::detail::exception&) override {
        error = fmt::format("is no JSON at byte {}", position);
        return false;
    }

    Value result;
    std::string error;

  private:
    struct Open {
        std::shared_ptr<Dict> dict;  // nullptr: a list
        std::vector<Value> items;
        Value key;
    };
    bool open(bool is_object) {
        if (open_.size() >= static_cast<size_t>(kMaxDepth)) {
            error = fmt::format("nests deeper than {}", kMaxDepth);
            return false;
        }
        open_.push_back({is_object ? std::make_shared<Dict>() : nullptr, {}, {}});
        return true;
    }
    bool add(Value value) {
        if (open_.empty())
            result = std::move(value);
        else if (open_.back().dict != nullptr)
            open_.back().dict->set(open_.back().key, std::move(value));
        else
            open_.back().items.push_back(std::move(value));
        return true;
    }

    std::vector<Open> open_;
};

}  // namespace

Value parse_json(std::string_view text) {
    Reader reader;
    if (!Json::sax_parse(text, &reader)) throw std::runtime_error(reader.error);
    return std::move(reader.result);
}

}  // namespace hetune::jinja
