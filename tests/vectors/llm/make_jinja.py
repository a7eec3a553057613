#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes jinja.json: small templates, variables, and what Jinja2 makes of them.

Example: tests/vectors/llm/make_jinja.py > tests/vectors/llm/jinja.json   (needs python3-jinja2)
The environment is that of transformers' apply_chat_template.
"""
import json
import sys

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

env = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
)
env.filters["tojson"] = lambda x, indent=None: json.dumps(x, ensure_ascii=False, indent=indent)

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "  Hello, wörld \"quoted\"\n"},
    {"role": "assistant", "content": "Hi <there> & 'you'", "tool_calls": []},
    {"role": "user", "content": ""},
]
V = {"messages": MESSAGES, "add_generation_prompt": True, "tools": None, "bos_token": "<s>",
     "eos_token": "</s>", "n": 7, "f": 2.5, "items": [3, 1, 2], "d": {"b": 1, "a": [True, None]},
     "nested": {"x": {"y": ["p", {"q": "r"}]}}, "empty": [], "word": "heLLo world"}

TEMPLATES = r"""
{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m['content'] }}{{ eos_token }}{% endfor %}
=====
  {% if n == 7 %}
    seven
  {% elif n > 7 %}
    more
  {% else %}
    less
  {% endif %}
end
=====
a {%- if true -%} b {%- endif -%} c
=====
a
  {%+ if true %}
 b
  {%+ endif %}
c
=====
x {# a comment #} y
 {# alone on its line #}
z {#- tight -#} w
=====
{% for i in items %}{{ loop.index }}/{{ loop.length }}:{{ i }}{% if not loop.last %}, {% endif %}{% endfor %}
=====
{% for i in items if i > 1 %}{{ loop.index0 }}={{ i }};{{ loop.revindex }}{{ loop.first }} {% else %}none{% endfor %}
=====
{% for i in empty %}x{% else %}nothing{% endfor %}
=====
{% for k, v in d.items() %}{{ k }}={{ v }}|{% endfor %}{% for k in d %}{{ k }}{% endfor %}
=====
{% set ns = namespace(found=false, count=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.found = true %}{% set ns.count = ns.count + 1 %}{% endif %}{% endfor %}{{ ns.found }} {{ ns.count }}
=====
{% set x = 1 %}{% for i in items %}{% set x = i %}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}
=====
{% set text %}inner {{ n }}{% endset %}<{{ text }}>
=====
{{ messages | length }} {{ messages[0].content | length }} {{ word|upper }} {{ word|lower }} {{ word|title }} {{ word|capitalize }}
=====
{{ messages[1].content | trim }}|{{ messages[1]['content'].strip() }}|{{ '  a '.lstrip() }}|{{ '  a '.rstrip() }}|{{ 'xxaxx'.strip('x') }}
=====
{{ messages | tojson }}
=====
{{ d | tojson }} {{ d | tojson(indent=2) }} {{ 'a"b\n' | tojson }} {{ none | tojson }} {{ 1.5 | tojson }} {{ [] | tojson }} {{ {} | tojson }}
=====
{{ d }} {{ items }} {{ none }} {{ true }} {{ f }} {{ [1, 'a', "it's", none, false, 1.0] }}
=====
{{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 - 5 }} {{ -n }} {{ 1.5 + 1 }}
=====
{{ 'a' + 'b' }} {{ 'a' ~ 1 ~ none ~ 2.5 }} {{ [1] + [2] }} {{ 'a' 'b' }}
=====
{{ 1 < 2 }} {{ 2 <= 1 }} {{ 'a' != 'b' }} {{ 1 == 1.0 }} {{ 'ell' in 'hello' }} {{ 3 in items }} {{ 'a' in d }} {{ 'z' not in d }} {{ not true }} {{ not 1 == 2 }}
=====
{{ true and 'x' }} {{ '' or 'y' }} {{ false or none }} {{ 1 and 0 }} {{ 'p' if n else 'q' }} {{ 'p' if not n else 'q' }} [{{ 'p' if false }}]
=====
{{ unknown is defined }} {{ n is defined }} {{ unknown is not defined }} {{ tools is none }} {{ n is not none }} {{ word is string }} {{ d is mapping }} {{ items is iterable }} {{ items is sequence }} {{ n is number }} {{ n is odd }} {{ n is even }} {{ n is divisibleby 7 }} {{ n is divisibleby(2) }} {{ true is true }} {{ f is integer }} {{ 'a' is eq 'a' }} {{ true is boolean }}
=====
{{ unknown }}|{{ unknown | default('dflt') }}|{{ '' | default('e', true) }}|{{ '' | default('e') }}|{{ d.zzz }}|{{ d.get('zzz') }}|{{ d.get('zzz', 5) }}|{{ d.get('b') }}
=====
{{ nested.x.y[1].q }} {{ nested['x']['y'][0] }} {{ messages[-1].role }} {{ items[-1] }} {{ word[0] }}{{ word[-1] }}
=====
{{ items[1:] }} {{ items[:1] }} {{ items[::-1] }} {{ word[2:5] }} {{ word[::2] }} {{ word[-3:] }} {{ items[5:] }} {{ word[:-1] }} {{ items[::-2] }}
=====
{{ 'a,b,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a-b'.replace('-', '+') }} {{ word.startswith('he') }} {{ word.endswith('x') }} {{ '</think>x</think>y'.split('</think>')[-1] }} {{ ', '.join(['a', 'b']) }}
=====
{{ ['a', 'b'] | join(', ') }} {{ items | first }} {{ items | last }} {{ items | reverse | list }} {{ '12' | int + 1 }} {{ n | string + '!' }}
=====
{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | rejectattr('role', 'equalto', 'user') | map(attribute='role') | join(',') }} {{ messages | map(attribute='role') | list }} {{ ['a','b'] | map('upper') | join }}
=====
{% for i in range(3) %}{{ i }}{% endfor %} {% for i in range(2, 8, 3) %}{{ i }}{% endfor %} {{ range(5, 0, -2) | list }}
=====
{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{% if loop.index > 3 %}{% break %}{% endif %}{{ m.role }} {{ loop.previtem.role }} {{ loop.nextitem.role }};{% endfor %}
=====
{{ '\u00e9\x41\t"\\' }} {{ 'it\'s' }} {{ "say \"hi\"" }}
=====
{{ {'a': 1, 'b': [2, {'c': 'd'}]}.b[1]['c'] }} {{ {'a': {'b': 2}} }} {{ (1, 2) | list }}
=====
{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set rest = messages[1:] %}{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}{{ system }}:{% for m in rest %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}bad{% endif %}{{ m.role|trim + '>' }}{% endfor %}
=====
{%- if tools %}tools{%- else %}no tools{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
=====
{{ '}}' }}{{ '%}' }}{% if '%}' == "%}" %}ok{% endif %}
=====
one {{ n -}}
   two
{{- n }}

three
{% if false %}{% endif %}

four

=====
{% if true %}{% if false %}a{% elif true %}b{% for i in [1,2] %}{% if i == 2 %}c{% else %}d{% endif %}{% endfor %}{% endif %}{% else %}e{% endif %}
=====
{{ loop is defined }} {% for a in [1] %}{% for b in [2, 3] %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}
=====
{{ messages[1].content.split('\n')[0].strip() }} {{ (messages | first).role }} {{ messages|length - 1 }} {{ -1 * 2 }} {{ 3 - -2 }}
"""
cases = []
for source in TEMPLATES.strip("\n").split("\n=====\n"):
    cases.append({"template": source, "rendered": env.from_string(source).render(**V)})
json.dump({"variables": V, "cases": cases}, sys.stdout, ensure_ascii=False, indent=1)
print()
