// Templates that --chat-template takes by name, for files that bring none or a wrong one. Each
// writes a conversation as the named family was trained on it.
#include <array>

#include "runtime/text/chat_template.h"

namespace hetune {
namespace {

struct NamedTemplate {
    std::string_view name;
    std::string_view source;
};

constexpr std::array<NamedTemplate, 8> kTemplates = {{
    {"chatml",  // Qwen, Yi, SmolLM and many others
     R"({%- for message in messages -%}
{{- '<|im_start|>' ~ message.role ~ '\n' ~ message.content ~ '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%})"},
    {"gemma",  // Gemma 1 to 3: the system message goes in front of the first question
     R"({{- bos_token -}}
{%- set ns = namespace(system='') -%}
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{%- set ns.system = message.content | trim ~ '\n\n' -%}
{%- else -%}
{{- '<start_of_turn>' ~ ('model' if message.role == 'assistant' else message.role) ~ '\n' -}}
{{- ns.system ~ message.content | trim ~ '<end_of_turn>\n' -}}
{%- set ns.system = '' -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\n' -}}{%- endif -%})"},
    {"llama2",
     R"({%- set ns = namespace(system='') -%}
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{%- set ns.system = '<<SYS>>\n' ~ message.content ~ '\n<</SYS>>\n\n' -%}
{%- elif message.role == 'user' -%}
{{- bos_token ~ '[INST] ' ~ ns.system ~ message.content | trim ~ ' [/INST]' -}}
{%- set ns.system = '' -%}
{%- else -%}
{{- ' ' ~ message.content | trim ~ ' ' ~ eos_token -}}
{%- endif -%}
{%- endfor -%})"},
    {"llama3",
     R"({{- bos_token -}}
{%- for message in messages -%}
{{- '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\n\n' -}}
{{- message.content | trim ~ '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
{%- endif -%})"},
    {"mistral",  // 7B Instruct v0.2, v0.3 and Mixtral
     R"({{- bos_token -}}
{%- set ns = namespace(system='') -%}
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{%- set ns.system = message.content ~ '\n\n' -%}
{%- elif message.role == 'user' -%}
{{- '[INST] ' ~ ns.system ~ message.content ~ ' [/INST]' -}}
{%- set ns.system = '' -%}
{%- else -%}
{{- ' ' ~ message.content ~ eos_token -}}
{%- endif -%}
{%- endfor -%})"},
    {"phi3",
     R"({%- for message in messages -%}
{{- '<|' ~ message.role ~ '|>\n' ~ message.content ~ '<|end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\n' -}}{%- endif -%})"},
    {"vicuna",
     R"({%- for message in messages -%}
{%- if message.role == 'system' -%}
{{- message.content ~ '\n\n' -}}
{%- elif message.role == 'user' -%}
{{- 'USER: ' ~ message.content ~ '\n' -}}
{%- else -%}
{{- 'ASSISTANT: ' ~ message.content ~ eos_token ~ '\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'ASSISTANT:' -}}{%- endif -%})"},
    {"zephyr",
     R"({%- for message in messages -%}
{{- '<|' ~ message.role ~ '|>\n' ~ message.content ~ eos_token ~ '\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\n' -}}{%- endif -%})"},
}};

}  // namespace

std::string_view named_template(std::string_view name) {
    for (const NamedTemplate& entry : kTemplates)
        if (entry.name == name) return entry.source;
    return {};
}

std::vector<std::string_view> template_names() {
    std::vector<std::string_view> names;
    for (const NamedTemplate& entry : kTemplates) names.push_back(entry.name);
    return names;
}

}  // namespace hetune
