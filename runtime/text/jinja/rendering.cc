#include "runtime/text/jinja/rendering.h"

namespace hetune::jinja {
namespace {

thread_local Rendering* current = nullptr;

}  // namespace

Rendering::Rendering() { current = this; }

Rendering::~Rendering() {
    for (const auto& object : kept_) object->clear();
    current = nullptr;
}

void Rendering::count_steps(int64_t steps) {
    if (current != nullptr && (current->steps_left_ -= steps) < 0)
        throw Fault("the template runs without end");
}

void Rendering::count_text(size_t bytes) {
    if (bytes > kMaxTextBytes)
        throw Fault(fmt::format("makes a text of more than {} MiB", kMaxTextBytes >> 20));
    if (current != nullptr && (current->text_left_ -= static_cast<int64_t>(bytes)) < 0)
        throw Fault("the template makes more than 4 GiB of text");
}

void Rendering::count_elements(size_t count) {
    if (current != nullptr && (current->elements_left_ -= static_cast<int64_t>(count)) < 0)
        throw Fault("the template makes too many lists");
}

bool Rendering::autoescapes() { return current != nullptr && current->autoescape; }

void Rendering::keep(std::shared_ptr<Object> object) {
    if (current != nullptr) current->kept_.push_back(std::move(object));
}

CallDepth::CallDepth(Rendering& rendering) : rendering_(rendering) {
    if (rendering.call_depth >= Rendering::kMaxCallDepth) throw Fault("macros nest too deeply");
    ++rendering.call_depth;
}

}  // namespace hetune::jinja
