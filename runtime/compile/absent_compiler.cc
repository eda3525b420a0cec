#include "runtime/compile/absent_compiler.h"

#include <fmt/format.h>

namespace hetune {
namespace {

class AbsentCompiler final : public Compiler {
  public:
    AbsentCompiler(std::string identity, std::string options, std::string why)
        : identity_(std::move(identity)), options_(std::move(options)), why_(std::move(why)) {}

    std::string name() const override {
        return fmt::format("{}, which is not installed (from the cache)",
                           identity_.substr(0, identity_.find(' ')));
    }
    std::string identity() const override { return identity_; }
    std::vector<std::string> options(const Arch&) const override { return {options_}; }
    bool supports(const Arch&) const override { return true; }
    CodeObject compile(const CompileRequest& request) override {
        throw CompileError(CompileError::Cause::kNoCompiler,
                           fmt::format("{} for {} is not in the cache, and {}", request.entry,
                                       request.arch.name, why_));
    }

  private:
    std::string identity_, options_, why_;
};

}  // namespace

std::unique_ptr<Compiler> make_absent_compiler(const std::string& identity,
                                               const std::string& options, const std::string& why) {
    return std::make_unique<AbsentCompiler>(identity, options, why);
}

}  // namespace hetune
