// What is inside a Model, for programs that measure and check it. Not part of the library's
// interface.
#pragma once

#include "planner/model_file.h"
#include "runtime/hetune.h"
#include "runtime/session.h"

namespace hetune {

struct ModelParts {
    static const ModelFile& file(const Model& model);
    static Session* session(const Model& model);  // nullptr on the reference backend
};

}  // namespace hetune
