// One rendering of a template: what it may still do, and what has to be taken apart at its end.
#pragma once

#include <memory>
#include <vector>

#include "runtime/text/jinja/value.h"

namespace hetune::jinja {

// Its limits turn a template that runs away into an error. Values are made in many places that know
// of no rendering, so the counts are those of the thread; one rendering at a time is a thread's.
class Rendering {
  public:
    Rendering();
    ~Rendering();  // clears all that was kept
    Rendering(const Rendering&) = delete;
    Rendering& operator=(const Rendering&) = delete;

    // Statements, loop items and characters of texts that are looked at one by one; a chat of 1000
    // messages takes some 20 000. Throws Fault when none are left.
    static void count_steps(int64_t steps);
    static void count_text(size_t bytes);      // made
    static void count_elements(size_t count);  // of lists and dicts that were made

    // Objects may refer to each other in circles (a namespace that holds itself, a macro and its
    // scope), which reference counts alone would leave behind.
    static void keep(std::shared_ptr<Object> object);

    static bool autoescapes();  // false where no template is rendered

    bool autoescape = false;  // {% autoescape true %}
    int call_depth = 0;       // of macros and recursive loops
    static constexpr int kMaxCallDepth = 100;

  private:
    int64_t steps_left_ = 2'000'000;
    int64_t text_left_ = int64_t{4} << 30;
    int64_t elements_left_ = 16 << 20;
    std::vector<std::shared_ptr<Object>> kept_;
};

// Counts one level of calls for as long as it lives. Throws Fault when they nest too deeply.
class CallDepth {
  public:
    explicit CallDepth(Rendering& rendering);
    ~CallDepth() { --rendering_.call_depth; }
    CallDepth(const CallDepth&) = delete;
    CallDepth& operator=(const CallDepth&) = delete;

  private:
    Rendering& rendering_;
};

}  // namespace hetune::jinja
