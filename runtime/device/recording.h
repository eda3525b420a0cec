// Launches that a device of the host records instead of running them.
#pragma once

#include <functional>

namespace hetune {

// `recording` is `graph` while `record` runs, and null behind it, whatever it throws.
template <class Graph>
void record_into(Graph*& recording, Graph& graph, const std::function<void()>& record) {
    recording = &graph;
    try {
        record();
    } catch (...) {
        recording = nullptr;
        throw;
    }
    recording = nullptr;
}

}  // namespace hetune
