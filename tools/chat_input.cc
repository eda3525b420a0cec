#include "tools/chat_input.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <iostream>

#include "runtime/compile/signal_action.h"
#include "runtime/text/utf8.h"

namespace hetune {
namespace {

// For signal handlers.
termios original, plain;
volatile bool changed = false;
int screen = STDOUT_FILENO;  // where a person sees what is typed

// Most terminals put these around what is pasted, once they are asked to.
constexpr std::string_view kMarkPastes = "\x1b[?2004h";
constexpr std::string_view kLeavePastes = "\x1b[?2004l";

void show(std::string_view text) {
    while (!text.empty()) {
        const ssize_t wrote = ::write(screen, text.data(), text.size());
        if (wrote < 0 && errno != EINTR) return;
        if (wrote > 0) text.remove_prefix(static_cast<size_t>(wrote));
    }
}

// The rest of a paste arrives in pieces: a terminal hands over more as soon as there is room.
void drop_input() {
    constexpr int kQuietMs = 50;      // a terminal on this machine or near takes no longer
    constexpr int kMostPieces = 256;  // of 4 KiB: then the rest is no paste
    char piece[4096];
    pollfd input = {STDIN_FILENO, POLLIN, 0};
    for (int i = 0; i < kMostPieces; ++i)
        if (poll(&input, 1, kQuietMs) <= 0 || (input.revents & POLLIN) == 0 ||
            ::read(STDIN_FILENO, piece, sizeof piece) <= 0)
            return;
}

// Ctrl-Z: the shell gets the terminal as it was, and gives it back with SIGCONT.
void on_stop(int) {
    const int reason = errno;
    if (changed) show(kLeavePastes);
    if (changed) tcsetattr(STDIN_FILENO, TCSADRAIN, &original);
    kill(getpid(), SIGSTOP);
    if (changed) tcsetattr(STDIN_FILENO, TCSADRAIN, &plain);
    if (changed) show(kMarkPastes);
    errno = reason;
}

// Takes the last character off, and off the screen. Characters of CJK and emoji, four bytes or from
// U+1100 on, take two columns.
void erase_last(std::string& line) {
    size_t begin = line.size();
    while (begin > 0 && (line[--begin] & 0xC0) == 0x80) {
    }
    const Utf8Sequence last = first_utf8(std::string_view(line).substr(begin));
    const bool wide =
        last.state == Utf8State::kValid && last.code_point >= 0x1100 &&
        (last.code_point < 0x2000 ? last.code_point < 0x1160 : last.code_point >= 0x2E80);
    line.resize(begin);
    show(wide ? "\b\b  \b\b" : "\b \b");
}

}  // namespace

ChatInput::ChatInput() : terminal_(isatty(STDIN_FILENO) != 0) {
    if (!terminal_ || tcgetattr(STDIN_FILENO, &original) != 0) return;
    if (isatty(STDOUT_FILENO) == 0) {  // the answers go to a file
        const int terminal = open("/dev/tty", O_WRONLY | O_CLOEXEC);
        screen = terminal >= 0 ? terminal : STDERR_FILENO;
    }
    plain = original;
    plain.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    plain.c_cc[VMIN] = 1;
    plain.c_cc[VTIME] = 0;
    changed = tcsetattr(STDIN_FILENO, TCSADRAIN, &plain) == 0;
    if (!changed) return;
    show(kMarkPastes);
    set_signal(SIGTSTP, on_stop);
}

ChatInput::~ChatInput() { restore(); }

void ChatInput::restore() noexcept {
    if (!changed) return;
    changed = false;
    show(kLeavePastes);
    drop_input();
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &original);
}

std::optional<std::string> ChatInput::next() {
    for (;;) {
        if (terminal_) show("> ");
        std::optional<std::string> line;
        if (terminal_)
            line = edit();
        else if (std::string read; std::getline(std::cin, read))
            line = std::move(read);
        if (!line) return {};
        if (line->find_first_not_of(" \t\r\n") != std::string::npos) return line;
    }
}

int ChatInput::read_byte() {
    char byte = 0;
    ssize_t count = 0;
    do count = ::read(STDIN_FILENO, &byte, 1);
    while (count < 0 && errno == EINTR);
    return count == 1 ? static_cast<unsigned char>(byte) : -1;
}

std::optional<std::string> ChatInput::edit() {
    constexpr int kCtrlD = 4, kBackspace = 8, kCtrlU = 21, kCtrlW = 23, kEscape = 27, kDelete = 127;
    std::string line;
    bool pasting = false;
    for (;;) {
        const int byte = read_byte();
        if (byte < 0 || (byte == kCtrlD && line.empty() && !pasting)) {
            show("\n");
            return {};
        }
        const char c = static_cast<char>(byte);
        if (byte == kEscape) {
            // "ESC [ 200 ~" begins a paste, 201 ends one; keys such as Left have no use here.
            std::string sequence;
            int next = read_byte();
            if (next != '[' && next != 'O') continue;
            while ((next = read_byte()) >= 0 && (next < 0x40 || next > 0x7E) &&
                   sequence.size() < 16)
                sequence += static_cast<char>(next);
            if (next == '~' && sequence == "200") pasting = true;
            if (next == '~' && sequence == "201") pasting = false;
        } else if (c == '\n' || (c == '\r' && pasting)) {
            show("\n");
            if (!pasting) return line;
            line += '\n';
        } else if (!pasting && (byte == kBackspace || byte == kDelete)) {
            if (!line.empty() && line.back() != '\n') erase_last(line);
        } else if (!pasting && (byte == kCtrlU || byte == kCtrlW)) {
            bool word = false;  // seen a character of the word
            while (!line.empty() && line.back() != '\n' &&
                   (byte == kCtrlU || !word || line.back() != ' ')) {
                word |= line.back() != ' ';
                erase_last(line);
            }
        } else if (byte >= 0x20 || c == '\t') {
            line += c;
            show({&c, 1});
        }
    }
}

}  // namespace hetune
