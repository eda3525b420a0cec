// Texts that end an answer, looked for in a text that arrives in pieces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hetune {

class StopStrings {
  public:
    // None of them is empty.
    explicit StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {}

    // The part of the text so far that is certain to stand in front of every stop string, and was
    // not given before. Nothing more once one was found.
    std::string feed(std::string_view text);
    // The rest at the end of the text: what could have become a stop string and did not.
    std::string flush();
    // The one that was found; empty: none. Of several the one that ends first, and of these the
    // longest.
    const std::string& found() const { return found_; }

  private:
    std::vector<std::string> stops_;
    std::string held_;  // may become a stop string
    std::string found_;
};

}  // namespace hetune
