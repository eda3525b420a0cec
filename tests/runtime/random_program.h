// A random program of a sequence, and the same tokens in a fresh one.
#pragma once

#include <doctest/doctest.h>

#include <random>
#include <thread>
#include <vector>

#include "runtime/api/hetune.h"

namespace hetune::testing {

using Tokens = std::vector<int32_t>;

// How tokens came into a sequence: which kernels computed them, and where steps began.
struct Piece {
    enum class Kind { kPrompt, kAnswer, kEachLogits } kind;
    Tokens tokens;
};

class Program {
  public:
    Program(const Model& model, uint32_t seed) : text_(model.open()), random_(seed) {
        vocabulary_ = static_cast<int32_t>(model.info().vocabulary);
    }

    void run(int calls) {
        for (int i = 0; i < calls; ++i) {
            const int what = below(8);
            if (below(5) == 0) fork();
            if (text_.room() < 12 || what == 0) {
                text_.truncate(below(static_cast<int>(text_.tokens().size()) + 1));
            } else if (what < 5) {
                generate();
            } else if (what < 7) {
                const bool each = what == 5, one_by_one = below(3) == 0;
                const Tokens more = tokens(1 + below(9));
                text_.logits(more, {.every_position = each, .one_by_one = one_by_one});
                pieces_.push_back({one_by_one ? Piece::Kind::kAnswer
                                   : each     ? Piece::Kind::kEachLogits
                                              : Piece::Kind::kPrompt,
                                   more});
            } else {
                const Tokens more = prompt(1 + below(11));
                text_.append(more);
                pieces_.push_back({Piece::Kind::kPrompt, more});
            }
            keep_what_is_held();
        }
    }

    // A fresh sequence with the same tokens in the same pieces.
    Sequence fresh(const Model& model) const {
        Sequence again = model.open();
        for (const Piece& piece : pieces_)
            if (piece.kind == Piece::Kind::kPrompt)
                again.append(piece.tokens);
            else
                again.logits(piece.tokens,
                             {.every_position = piece.kind == Piece::Kind::kEachLogits,
                              .one_by_one = piece.kind == Piece::Kind::kAnswer});
        return again;
    }

    // Tokens that the program took over of others.
    int64_t taken_over() const { return taken_over_; }
    Sequence& text() { return text_; }
    void make_room(int64_t tokens) {
        if (text_.room() < tokens)
            text_.truncate(text_.room() + std::ssize(text_.tokens()) - tokens);
        keep_what_is_held();
    }
    Tokens held() const { return {text_.tokens().begin(), text_.tokens().end()}; }

  private:
    int below(int count) { return static_cast<int>(random_() % static_cast<uint32_t>(count)); }
    Tokens tokens(int count) {
        Tokens list;
        for (int i = 0; i < count; ++i) list.push_back(below(vocabulary_));
        return list;
    }

    // One of three starts where the sequence is empty, and then any tokens.
    Tokens prompt(int count) {
        Tokens list;
        const int start = below(3), all = 10 + below(20);
        for (int i = 0; i < all && text_.tokens().empty(); ++i)
            list.push_back((i * 37 + start * 11 + 5) % vocabulary_);
        for (const int32_t token : tokens(count)) list.push_back(token);
        return list;
    }

    // The program goes on with one of two sequences; the other one stays, cut, with an answer of
    // its own.
    void fork() {
        Sequence other = text_.fork();
        if (below(2) == 0) std::swap(text_, other);
        other.truncate(below(static_cast<int>(other.tokens().size()) + 1));
        if (other.room() > 4)
            other.generate(tokens(1), {.max_tokens = 1 + below(2), .ignore_end = true});
        left_.push_back(std::move(other));
    }

    // To its end, stopped by the callback, cancelled by it, or by another thread at any moment.
    void generate() {
        const Tokens prompt = this->prompt(1 + below(20));
        if (static_cast<int64_t>(prompt.size()) > text_.room()) return;
        const int stops = below(4), behind = 1 + below(4);
        int64_t seen = 0;
        GenerateOptions options{
            .max_tokens = 1 + below(12),
            .sampling = {.temperature = below(2) * 0.9, .seed = static_cast<uint32_t>(random_())},
            .ignore_end = true,
            .logprobs = below(6) == 0 ? 2 : -1};
        const auto on_text = [&](std::string_view) {
            if (stops == 2 && ++seen == behind) text_.cancel();
            return !(stops == 1 && ++seen == behind);
        };
        std::thread other;
        if (stops == 3)
            other = std::thread([this, us = below(3000)] {
                std::this_thread::sleep_for(std::chrono::microseconds(us));
                text_.cancel();
            });
        const bool was_empty = text_.tokens().empty();
        const Generated made = text_.generate(prompt, options, on_text);
        if (was_empty) taken_over_ += made.cached_tokens;
        if (other.joinable()) other.join();
        pieces_.push_back({Piece::Kind::kPrompt, prompt});
        if (!made.tokens.empty()) pieces_.push_back({Piece::Kind::kAnswer, made.tokens});
    }

    // A prompt that was cancelled is there as far as it was computed.
    void keep_what_is_held() {
        std::span<const int32_t> held = text_.tokens();
        for (size_t i = 0; i < pieces_.size(); ++i) {
            Tokens& piece = pieces_[i].tokens;
            if (held.empty()) {
                pieces_.resize(i);
                break;
            }
            piece.resize(std::min(piece.size(), held.size()));
            REQUIRE(std::ranges::equal(piece, held.first(piece.size())));
            held = held.subspan(piece.size());
        }
        REQUIRE(held.empty());
    }

    Sequence text_;
    std::vector<Sequence> left_;  // behind forks
    std::mt19937 random_;
    int32_t vocabulary_ = 0;
    std::vector<Piece> pieces_;
    int64_t taken_over_ = 0;
};

}  // namespace hetune::testing
