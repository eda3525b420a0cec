// What a person types or pastes into a conversation, turn by turn.
#pragma once

#include <optional>
#include <string>

namespace hetune {

// On a terminal the driver's own line editing is off while this lives: it cuts lines at 4095 bytes,
// and hands what was not read to the shell behind. Elsewhere each line of stdin is a turn.
class ChatInput {
  public:
    ChatInput();
    ~ChatInput();
    ChatInput(const ChatInput&) = delete;
    ChatInput& operator=(const ChatInput&) = delete;

    bool is_terminal() const { return terminal_; }
    // Asks for the next turn and gives it without its line end; several lines where they were
    // pasted together by a terminal that marks pastes. Empty lines are no turns. None at the end of
    // input (Ctrl-D).
    std::optional<std::string> next();

    // Gives the terminal back as it was, without what was typed and not read. May be called by a
    // signal handler.
    static void restore() noexcept;

  private:
    std::optional<std::string> edit();
    int read_byte();  // -1: the end

    bool terminal_;
};

}  // namespace hetune
