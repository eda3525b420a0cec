#include <hetune/hetune.h>

#include <iostream>

int main(int, char** argv) {
    try {
        hetune::Model missing("/nowhere.gguf");
        return 1;
    } catch (const hetune::ModelError&) {  // the same type in the library and here
    }
    hetune::Model model(argv[1], {.backend = "cpu", .context = 256});
    hetune::Sequence sequence = model.open();
    const auto written =
        sequence.generate("Ownership is", {.max_tokens = 8}, [](std::string_view text) {
            std::cout << text << std::flush;
            return true;
        });
    std::cout << "\n" << written.tokens.size() << " tokens, " << model.info().backend << "\n";
}
