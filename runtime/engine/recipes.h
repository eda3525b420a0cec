// Recipes: recorded by whoever loads a model, replayed by `hetune prewarm --recipes`.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cache/recipe.h"
#include "runtime/load/model_plans.h"

namespace hetune {

// The plans that a load with these options makes.
std::vector<Recipe> recipes_of_load(const ModelFile& file, const LoadOptions& options);

// The kernels of each recipe's plan, planned anew for `arch` with the tunables of that arch and
// without the `refused` ones (PlanOptions::refused); each once, sorted by their text. Throws
// CacheError for a plan that this hetune does not know, and ModelError.
std::vector<KernelSpec> kernels_of_recipes(const std::vector<Recipe>& recipes, const Arch& arch,
                                           const std::map<std::string, std::string>& refused = {});

}  // namespace hetune
