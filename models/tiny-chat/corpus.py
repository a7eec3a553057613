# SPDX-License-Identifier: MIT
"""Synthetic question/answer chats for the tiny chat model (all wording is this project's own).

Every question has exactly one right answer string, so accuracy is an exact match.
items() -> list of (intent, question, answer, held_out). A question is held out by a hash of its
text (phrase seen with other words only), or, for sums, by its numbers (sum never seen at all).
"""
import random
import zlib

CAPITALS = dict(France="Paris", Germany="Berlin", Italy="Rome", Spain="Madrid", Portugal="Lisbon", Austria="Vienna", Poland="Warsaw", Greece="Athens", Norway="Oslo", Sweden="Stockholm", Finland="Helsinki", Denmark="Copenhagen", Ireland="Dublin", Hungary="Budapest", Romania="Bucharest", Bulgaria="Sofia", Belgium="Brussels", Japan="Tokyo", China="Beijing", India="New Delhi", Egypt="Cairo", Kenya="Nairobi", Ghana="Accra", Nigeria="Abuja", Morocco="Rabat", Canada="Ottawa", Mexico="Mexico City", Cuba="Havana", Peru="Lima", Chile="Santiago", Brazil="Brasilia", Argentina="Buenos Aires", Turkey="Ankara", Iran="Tehran", Iraq="Baghdad", Thailand="Bangkok", Vietnam="Hanoi", Australia="Canberra", Iceland="Reykjavik", Ukraine="Kyiv")
OPPOSITE = dict(hot="cold", big="small", fast="slow", up="down", left="right", day="night", open="closed", high="low", old="new", hard="soft", wet="dry", full="empty", light="dark", early="late", happy="sad", long="short", strong="weak", rich="poor", loud="quiet", near="far", first="last", true="false", in_="out", more="less", yes="no")
COLOUR = {"the sky": "blue", "grass": "green", "snow": "white", "coal": "black", "a banana": "yellow", "a tomato": "red", "an orange": "orange", "the sun": "yellow", "milk": "white", "a leaf": "green", "blood": "red", "the sea": "blue", "a lemon": "yellow", "chocolate": "brown", "a raven": "black"}
WORDS = "cat dog sun moon tree fish bird book lamp ship rain wind snow fire gold iron salt bread apple stone river table chair house mouse horse green white cloud plant light night train clock glass paper".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
FACTS = {
    "GGUF": "GGUF is a file format that holds the weights and the metadata of a model.",
    "a token": "A token is a small piece of text that a model reads as one number.",
    "a tokenizer": "A tokenizer cuts text into tokens and joins tokens back into text.",
    "a byte pair": "A byte pair is two neighbouring pieces that a tokenizer may merge into one.",
    "an NPU": "An NPU is a chip part that multiplies matrices fast and with little power.",
    "a CPU": "A CPU is the main processor that runs general programs.",
    "a matrix": "A matrix is a table of numbers with rows and columns.",
    "quantization": "Quantization stores numbers with fewer bits so that a model gets smaller.",
    "Q8_0": "Q8_0 stores 32 weights as 8 bit numbers with one shared scale.",
    "Q4_K": "Q4_K stores 256 weights as 4 bit numbers with small scales for each group.",
    "F16": "F16 is a floating point number with 16 bits.",
    "a logit": "A logit is the raw score that a model gives to a token.",
    "a prompt": "A prompt is the text that you give to a model.",
    "attention": "Attention lets a model look back at earlier tokens.",
    "a driver": "A driver is the code that lets programs use a device.",
    "a kernel": "A kernel is the core of an operating system.",
    "a register": "A register is a small memory cell inside a device.",
    "an interrupt": "An interrupt is a signal that a device sends when its work is done.",
    "memory": "Memory keeps the data that a program is using.",
    "a cache": "A cache is a small and fast memory close to the processor.",
    "RoPE": "RoPE rotates the query and the key so that a model knows the order of tokens.",
    "a test": "A test checks that a program does what it should.",
}
SMALLTALK = [
    ("greet", ["Hello", "Hello!", "Hi", "Hi!", "Hi there", "Hey", "Hello there!"], "Hello! How can I help you?"),
    ("greet", ["Good morning", "Good morning!"], "Good morning! How can I help you?"),
    ("greet", ["Good evening", "Good evening!"], "Good evening! How can I help you?"),
    ("bye", ["Bye", "Bye!", "Goodbye", "See you later", "See you!"], "Goodbye! Have a nice day."),
    ("thanks", ["Thanks", "Thanks!", "Thank you", "Thank you!", "Thanks a lot!"], "You are welcome."),
    ("who", ["Who are you?", "What are you?", "What is your name?", "Tell me who you are.", "Introduce yourself."], "I am Tiny, a very small chat model for testing."),
    ("mood", ["How are you?", "How are you today?", "How do you do?"], "I am fine, thank you."),
    ("can", ["What can you do?", "Help", "Help me", "How can you help me?"], "I can add small numbers, count, spell words, name capitals and explain a few terms."),
]
T = {
    "capital": ["What is the capital of {}?", "Name the capital of {}.", "Which city is the capital of {}?", "Tell me the capital of {}.", "Capital of {}?", "Do you know the capital of {}?"],
    "country": ["{} is the capital of which country?", "Which country has the capital {}?", "What country is {} the capital of?"],
    "opposite": ["What is the opposite of {}?", "Tell me the opposite of {}.", "Opposite of {}?", "Which word means the opposite of {}?"],
    "colour": ["What colour is {}?", "Which colour does {} have?", "Tell me the colour of {}."],
    "spell": ["Spell {}.", "How do you spell {}?", "Spell the word {}.", "Please spell {}."],
    "letters": ["How many letters are in {}?", "How many letters does {} have?"],
    "fact": ["What is {}?", "Explain {}.", "Tell me about {}.", "Can you explain {}?", "Please tell me what {} is."],
    "add": ["What is {} + {}?", "{} + {} = ?", "Add {} and {}.", "What is {} plus {}?", "How much is {} plus {}?"],
    "sub": ["What is {} - {}?", "{} - {} = ?", "What is {} minus {}?", "How much is {} minus {}?"],
    "mul": ["What is {} * {}?", "What is {} times {}?", "How much is {} times {}?"],
    "count": ["Count from {} to {}.", "Please count from {} to {}.", "Can you count from {} to {}?"],
    "after": ["What number comes after {}?", "Which number follows {}?"],
    "before": ["What number comes before {}?", "Which number is just before {}?"],
    "bigger": ["Which is bigger, {} or {}?", "Which number is larger, {} or {}?"],
    "next_day": ["What day comes after {}?", "Which day follows {}?"],
    "prev_day": ["What day comes before {}?", "Which day is just before {}?"],
    "next_month": ["What month comes after {}?", "Which month follows {}?"],
    "repeat": ["Repeat the word {}.", "Say {}.", "Please say the word {}."],
}
SYSTEMS = [None, None, None, "You are a helpful assistant.", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.", "You are Tiny."]


def _h(s, salt):
    return zlib.crc32((salt + s).encode()) % 1000


def items():
    out = []

    def put(intent, args, answer, key=None):
        for t in T[intent]:
            q = t.format(*args)
            held = _h(key, "k") < 120 if key else _h(q, "q") < 120
            out.append((intent, q, answer, held))

    for _, qs, a in SMALLTALK:
        out += [(_, q, a, False) for q in qs]
    for c, cap in CAPITALS.items():
        put("capital", [c], "The capital of %s is %s." % (c, cap))
        put("country", [cap], "%s is the capital of %s." % (cap, c))
    for a, b in OPPOSITE.items():
        a = a.rstrip("_")
        put("opposite", [a], "The opposite of %s is %s." % (a, b))
        put("opposite", [b], "The opposite of %s is %s." % (b, a))
    for k, v in COLOUR.items():
        put("colour", [k], "%s is %s." % (k[0].upper() + k[1:], v))
    for w in WORDS:
        put("spell", [w], "-".join(w))
        put("letters", [w], "The word %s has %d letters." % (w, len(w)))
        put("repeat", [w], w)
    for k, v in FACTS.items():
        put("fact", [k], v)
    for a in range(31):
        for b in range(31):
            put("add", [a, b], "%d + %d = %d" % (a, b, a + b), "add%d,%d" % (a, b))
            if b <= a:
                put("sub", [a, b], "%d - %d = %d" % (a, b, a - b), "sub%d,%d" % (a, b))
            if a != b:
                put("bigger", [a, b], "%d is bigger." % max(a, b), "big%d,%d" % (a, b))
    for a in range(11):
        for b in range(11):
            put("mul", [a, b], "%d * %d = %d" % (a, b, a * b))
    for a in range(21):
        for n in range(2, 10):
            put("count", [a, a + n], ", ".join(map(str, range(a, a + n + 1))), "count%d,%d" % (a, n))
    for a in range(1, 100):
        put("after", [a], "%d comes after %d." % (a + 1, a))
        put("before", [a], "%d comes before %d." % (a - 1, a))
    for i, d in enumerate(DAYS):
        put("next_day", [d], "%s comes after %s." % (DAYS[(i + 1) % 7], d))
        put("prev_day", [d], "%s comes before %s." % (DAYS[i - 1], d))
    for i, m in enumerate(MONTHS):
        put("next_month", [m], "%s comes after %s." % (MONTHS[(i + 1) % 12], m))
    return out


# share of each intent in training
WEIGHT = dict(greet=2, bye=1, thanks=1, who=2, mood=1, can=1, capital=10, country=6, opposite=5, colour=3, spell=7, letters=3,
              fact=8, add=12, sub=8, mul=5, count=6, after=4, before=4, bigger=4, next_day=2, prev_day=2, next_month=2, repeat=2)


def chats(seed):
    """Endless stream of (system or None, [(question, answer), ...]) for training."""
    r = random.Random(seed)
    by = {}
    for intent, q, a, held in items():
        if not held:
            by.setdefault(intent, []).append((q, a))
    names, w = list(by), [WEIGHT[k] for k in by]
    while True:
        n = r.choices([1, 2, 3, 4], [6, 2, 1, 1])[0]
        yield r.choice(SYSTEMS), [r.choice(by[k]) for k in r.choices(names, w, k=n)]


def render(system, turns, last_open=False):
    s = "" if system is None else "<|im_start|>system\n%s<|im_end|>\n" % system
    for i, (q, a) in enumerate(turns):
        s += "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n" % q
        if not (last_open and i == len(turns) - 1):
            s += "%s<|im_end|>\n" % a
    return s


if __name__ == "__main__":
    it = items()
    print(len(it), "questions,", sum(h for *_, h in it), "held out")
    g = chats(1)
    for _ in range(6):
        print(render(*next(g)))
