#include "runtime/trial/certifier.h"

#include <map>

namespace hetune {
namespace {

using ByKernel = std::map<std::string_view, const Certifier*>;

void add(ByKernel& all, Certifiers list) {
    for (const Certifier& certifier : list) all.emplace(certifier.kernel, &certifier);
}

template <class... T>
void add_of_kinds(ByKernel& all, const std::variant<T...>*) {
    (add(all, certifiers(T())), ...);
}

ByKernel all_certifiers() {
    ByKernel all;
    add_of_kinds(all, static_cast<const Op*>(nullptr));
    add(all, form_certifiers());
    add(all, sampler_certifiers());
    return all;
}

}  // namespace

const Certifier* find_certifier(std::string_view kernel) {
    static const ByKernel all = all_certifiers();
    const auto found = all.find(kernel);
    return found == all.end() ? nullptr : found->second;
}

}  // namespace hetune
