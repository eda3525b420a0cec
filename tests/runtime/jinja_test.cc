// tests/models/jinja_cases.json was made with Jinja2 3.1 in the environment that chat templates
// are rendered in: sandboxed and immutable, trim_blocks, lstrip_blocks, loop controls.
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/text/jinja/access.h"
#include "runtime/text/jinja/json_input.h"
#include "runtime/text/jinja/print.h"
#include "runtime/text/jinja/template.h"
#include "runtime/text/jinja/text.h"

namespace hetune::jinja {
namespace {

Json load(const std::string& path) {
    std::ifstream file(path);
    return Json::parse(file);
}

std::string render(const std::string& source, const Json& variables = Json::object()) {
    return Template("test", source).render(variables);
}

std::string error_of(const std::string& source, const Json& variables = Json::object()) {
    try {
        return "rendered: " + render(source, variables);
    } catch (const TemplateError& error) {
        return error.what();
    }
}

}  // namespace

TEST_CASE("Template renders what Jinja2 renders") {
    const Json file = load(HETUNE_TEST_MODELS "/jinja_cases.json");
    REQUIRE(file["cases"].size() > 50);
    for (const Json& item : file["cases"]) {
        const std::string source = item["template"];
        CAPTURE(source);
        CHECK(render(source, file["variables"]) == item["expected"].get<std::string>());
    }
}

TEST_CASE("Template refuses what Jinja2 refuses, in one line with its place") {
    const Json file = load(HETUNE_TEST_MODELS "/jinja_cases.json");
    REQUIRE(file["errors"].size() > 30);
    for (const Json& source : file["errors"]) {
        const std::string error = error_of(source, file["variables"]);
        CAPTURE(source);
        CAPTURE(error);
        CHECK(error.starts_with("test: line 1, "));
        CHECK(error.find('\n') == std::string::npos);
    }
}

// tests/models/jinja2_cases.json was made with Jinja2 3.1.2 in the same environment: filters,
// tests, methods, formats, case and classes of Unicode, integers of any size, scopes, macros and
// loops.
TEST_CASE("Template renders what Jinja2 renders in every corner of the language") {
    std::ifstream stream(HETUNE_TEST_MODELS "/jinja2_cases.json");
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    const Json file = Json::parse(text);
    REQUIRE(file["cases"].size() > 200);
    for (const Json& item : file["cases"]) {
        const std::string source = item["template"];
        CAPTURE(source);
        // Anew each time, since pop() changes a list; by the reader that keeps large integers.
        const Value variables = attribute(parse_json(text), "variables");
        CHECK(Template("test", source).render(variables) == item["expected"].get<std::string>());
    }
    for (const Json& source : file["errors"]) {
        CAPTURE(source);
        const Value variables = attribute(parse_json(text), "variables");
        CHECK_THROWS_AS(Template("test", source.get<std::string>()).render(variables),
                        TemplateError);
    }
}

TEST_CASE("JSON of any depth is read without recursion and refused beyond the bound") {
    CHECK_THROWS_WITH(parse_json(std::string(1'000'000, '[')), "nests deeper than 100");
    CHECK_THROWS_WITH(parse_json("[1, 2"), "is no JSON at byte 6");
    CHECK(repr(parse_json(R"({"b": 1, "a": [123456789012345678901234567890, 1.5, null]})")) ==
          "{'b': 1, 'a': [123456789012345678901234567890, 1.5, None]}");
}

TEST_CASE("Template errors name line and construct") {
    CHECK(error_of("a\nb\n{{ 1 +\n  x.y }}") == "test: line 4, .y: 'x' is undefined");
    CHECK(error_of("\n{{ 'a' | frobnicate }}") ==
          "test: line 2, filter 'frobnicate': there is no filter 'frobnicate'");
    CHECK(error_of("{{ 1 is shiny }}") == "test: line 1, test 'shiny': there is no test 'shiny'");
    CHECK(error_of("{%- include 'x' %}") ==
          "test: line 1, include: a chat template cannot load another template");
    CHECK(error_of("{% trans %}") == "test: line 1, tag 'trans': hetune has no such tag");
    CHECK(error_of("\n\n{% if 1 %}\n{% for i in [] %}\n{% endif %}") ==
          "test: line 5, endif: stands within the 'for' of line 4");
    CHECK(error_of("{% if 1 %}\n\n") == "test: line 1, if: 'endif' is missing");
    CHECK(error_of("x\n{{ raise_exception('Roles must alternate') }}") ==
          "test: line 2, raise_exception(): Roles must alternate");
    CHECK(error_of("{{ 'a' + 1 }}") ==
          "test: line 1, operator '+': cannot take a string and a number");
    CHECK(error_of("{% macro m() %}\n{{ 1 // 0 }}{% endmacro %}\n{{ m() }}") ==
          "test: line 2, operator '//': division by zero");
    CHECK(error_of("{% for x in [1,\n2] %}{{ x.y.z }}{% endfor %}") ==
          "test: line 2, .z: 'int object' has no attribute 'y'");
    CHECK(error_of("{{ (1, 2 }}") == "test: line 1, tag: '}' cannot close '('");
    CHECK(error_of("{{ 1 } }}") == "test: line 1, tag: '}' closes nothing");
    CHECK(error_of("\n{{ [1") == "test: line 2, tag: '[' is not closed");
    CHECK(error_of("{{ f(1 2) }}") == "test: line 1, arguments: expected ',', not '2'");
}

TEST_CASE("Templates that run away end with an error") {
    CHECK(error_of("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}") ==
          "test: line 1, m(): macros nest too deeply");
    CHECK(error_of("{% for a in range(99999) %}{% for b in range(99999) %}{% set c = 1 %}"
                   "{% endfor %}{% endfor %}")
              .find("runs without end") != std::string::npos);
    CHECK(error_of("{{ 'x' * 99999999999 }}").find("more than 64 MiB") != std::string::npos);
    CHECK(error_of("{% set ns = namespace(s='x') %}{% for i in range(60) %}"
                   "{% set ns.s = ns.s ~ ns.s %}{% endfor %}")
              .find("more than 64 MiB") != std::string::npos);
    CHECK(render("{% set ns = namespace(a=1) %}{% set ns.me = ns %}{{ ns.me.me.a }}") == "1");
    CHECK(error_of("{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}")
              .find("nest too deeply") != std::string::npos);
    for (const char* grow : {"[ns.l, ns.l]", "ns.l + ns.l", "{'a': ns.l, 'b': ns.l}", "ns.l * 2"})
        CHECK(error_of("{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = " +
                       std::string(grow) + " %}{% endfor %}")
                  .find("more than 1048576 elements") != std::string::npos);
    CHECK(error_of("{% set ns = namespace(l=[1]) %}{% for i in range(999) %}{% set ns.l = [ns.l] %}"
                   "{% endfor %}{{ ns.l }}")
              .find("nest deeper than 100") != std::string::npos);
    Json deep = 1;
    for (int i = 0; i < 1000; ++i) deep = Json::array({std::move(deep)});
    CHECK(error_of("{{ x }}", {{"x", deep}}) ==
          "test: the variables: lists and dicts nest deeper than 100");
    CHECK(error_of("{{ " + std::string(100'000, '(') + "1" + std::string(100'000, ')') + " }}")
              .find("parts") != std::string::npos);
    CHECK(error_of("{{ 1" +
                   [] {
                       std::string sum;
                       for (int i = 0; i < 100'000; ++i) sum += "+1";
                       return sum;
                   }() +
                   " }}")
              .find("more than 2000 parts") != std::string::npos);
    std::string nested;
    for (int i = 0; i < 100'000; ++i) nested += "{% if 1 %}";
    CHECK(error_of(nested).find("nest too deeply") != std::string::npos);
    CHECK(error_of("{{ 2 ** 99999999 }}").find("bits") != std::string::npos);
    CHECK(error_of("{{ 2 ** 60000 }}").find("4300 digits") != std::string::npos);
    CHECK(error_of("{% set ns = namespace(p=0) %}{% for i in range(99999) %}"
                   "{% set ns.p = namespace(p=ns.p) %}{% endfor %}x") == "rendered: x");
    CHECK(error_of("{{ '%9999999d' % 1 }}").find("too large") != std::string::npos);
}

TEST_CASE("Any cut of a template gives text or a TemplateError") {
    std::ifstream file(HETUNE_TEST_MODELS "/chat_templates/qwen3_style.jinja");
    const std::string source{std::istreambuf_iterator<char>(file), {}};
    const Json variables = {{"messages", Json::array({{{"role", "user"}, {"content", "x"}}})}};
    REQUIRE(source.size() > 1000);
    for (size_t cut = 0; cut < source.size(); cut += 3) {
        CHECK_FALSE(error_of(source.substr(0, cut), variables).empty());
        CHECK_FALSE(error_of(source.substr(cut), variables).empty());
    }
}

TEST_CASE("strftime_now gives the date of today") {
    const std::string year = render("{{ strftime_now('%Y') }}");
    CHECK(year.size() == 4);
    CHECK(year >= "2024");
    CHECK(render("{% generation %}a{% endgeneration %}b") == "ab");
}

TEST_CASE("Text functions take broken UTF-8") {
    CHECK(render("{{ s|length }}{{ s[::-1]|length }}", {{"s", "a\xFFz\xC3"}}) == "44");
    CHECK(json_text(Value::text("a\xFF")) == "\"a\xEF\xBF\xBD\"");
    CHECK(strip("\xC2\xA0 x\xE3\x80\x80", "", true, true) == "x");
    CHECK(strip("\x80\x80\x80\x80\x80", "", true, true) == "\x80\x80\x80\x80\x80");
}

}  // namespace hetune::jinja
