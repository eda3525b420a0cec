#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <vector>

#include "tests/skip.h"

namespace hetune::testing {
namespace {

constexpr int kSkipped = 77;  // SKIP_RETURN_CODE of hetune_test

std::vector<Need::WhyNot>& needs() {
    static std::vector<Need::WhyNot> list;
    return list;
}

const char* running_case = "";
int skipped_cases = 0;
unsigned started_cases = 0;

// Keeps count of what doctest's exit status does not tell apart.
struct Counter : doctest::IReporter {
    explicit Counter(const doctest::ContextOptions&) {}
    void report_query(const doctest::QueryData&) override {}
    void test_run_start() override {}
    void test_run_end(const doctest::TestRunStats&) override {}
    void test_case_start(const doctest::TestCaseData& data) override {
        running_case = data.m_name;
        ++started_cases;
    }
    void test_case_reenter(const doctest::TestCaseData&) override {}
    void test_case_end(const doctest::CurrentTestCaseStats&) override {}
    void test_case_exception(const doctest::TestCaseException&) override {}
    void subcase_start(const doctest::SubcaseSignature&) override {}
    void subcase_end() override {}
    void log_assert(const doctest::AssertData&) override {}
    void log_message(const doctest::MessageData&) override {}
    void test_case_skipped(const doctest::TestCaseData&) override {}
};
REGISTER_LISTENER("counter", 1, Counter);

}  // namespace

void skip(const std::string& why) {
    std::printf("[hetune] skipped: %s: %s\n", running_case, why.c_str());
    ++skipped_cases;
}

Need::Need(WhyNot why_not) { needs().push_back(why_not); }

}  // namespace hetune::testing

int main(int argc, char** argv) {
    using namespace hetune::testing;
    for (const Need::WhyNot why_not : needs())
        if (const std::string why = why_not(); !why.empty()) {
            std::printf("[hetune] skipped: all test cases: %s\n", why.c_str());
            return kSkipped;
        }
    doctest::Context context(argc, argv);
    const int status = context.run();
    if (status != 0 || context.shouldExit()) return status;
    if (started_cases == 0) {
        std::printf("[hetune] no test case has a name that the filters take\n");
        return 1;
    }
    return skipped_cases > 0 ? kSkipped : 0;
}
