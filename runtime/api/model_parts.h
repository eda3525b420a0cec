// What is inside a Model, for programs that measure and check it. Not part of the library's
// interface.
#pragma once

#include "planner/file/model_file.h"
#include "runtime/api/hetune.h"
#include "runtime/compile/kernel_library.h"
#include "runtime/engine/session.h"
#include "runtime/text/model_text.h"

namespace hetune {

struct ModelParts {
    static const ModelFile& file(const Model& model);
    static const ModelText& text(const Model& model);
    static Session* session(const Model& model);        // nullptr on the reference backend
    static KernelLibrary& library(const Model& model);  // where there is a session
};

}  // namespace hetune
