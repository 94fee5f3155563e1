#!/usr/bin/env python3
"""The mixed corpus of the tokenizer tests: writes tok/corpus.json (standard library only).

{"cases": [{"name": "...", "hex": "raw bytes"}, ...]}. The bytes may be invalid UTF-8: a reader replaces each maximal
ill-formed subpart by U+FFFD (as Unicode 3.9 recommends, and as Rust and Python do) before it tokenizes.
Code points are of Unicode 13 or older, so that every library's tables agree on them.
"""
import json
import os
import random

HERE = os.path.dirname(os.path.abspath(__file__))

# All of Unicode White_Space, then characters that look like it and are not.
SPACES = [0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F,
          0x205F, 0x3000]
NOT_SPACES = [0x1C, 0x1D, 0x1E, 0x1F, 0x180E, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0x00AD, 0x2800, 0x3164]


def texts():
    yield "empty", ""
    yield "blank", " "
    yield "blanks", "   "
    yield "newline", "\n"
    yield "hello", "Hello world"
    yield "hello_comma", "Hello, world! How's it going? I'm fine; they'll've gone."
    yield "leading", "  two leading blanks"
    yield "trailing", "two trailing blanks  "
    yield "inner", "a  b   c    d     e"
    yield "tabs", "\tone\t\ttwo\t \t three"
    yield "crlf", "line one\r\nline two\r\n\r\nline four\rold mac"
    yield "newlines", "a\nb\n\nc\n\n\nd\n \n e\n  \n"
    yield "blank_nl", " \n \n\n  \n\n\n   x"
    yield "prose", ("The European lobster is a species of clawed lobster from the eastern Atlantic Ocean, Mediterranean "
                    "Sea and parts of the Black Sea. It was first described in 1758; \u201cCancer gammarus\u201d \u2013 "
                    "see p. 1,234.56 (10th ed.).")
    yield "lower_contr", "I'm you're he's we'll they'd I've can't 'tis 'twas o'clock rock'n'roll"
    yield "upper_contr", "I'M YOU'RE HE'S WE'LL THEY'D I'VE CAN'T 'TIS 'Ll 'rE 'Ve 'D"
    yield "curly_contr", "I\u2019m you\u2019re he\u2019s \u2018t \u02BCs"
    yield "long_s_contr", "it'\u017F that'\u017Fs 'K '\u212A"
    yield "contr_edges", "''s '' 's's'S 'st 'red 'very 'main 'dash 'llama 're're"
    yield "digits", "1 12 123 1234 12345 123456 1234567 3.14159 1e-5 0x1F 1,000,000 2024-11-22T13:40:00Z"
    yield "digits_letters", "a1b2c3 x86_64 H2O v1.2.3 abc123def 1st 2nd"
    yield "number_kinds", "\u00BD \u00B2 \u2163 \u2167x \u0663\u0664\u0665 \u0967\u0968 \uFF11\uFF12 \u3007 \u2460 \u09EA1 \U0001D7D8"
    yield "letter_kinds", "\u00AA \u00BA \u02B0 \u01C5 \u1E9E \u00DF \u0130I\u0131i \U00010400 \U0001D400 \u2C7C \uA7F9"
    yield "marks", "e\u0301 a\u030A n\u0303o \u0301alone x\u20DD \u0915\u094D\u0937 q\u0323\u0307 \u0F71\u0F72\u0F74"
    yield "nfc_pairs", "\u00E9 vs e\u0301; \u1E69 vs s\u0323\u0307 vs s\u0307\u0323; \u212B \u2126 \u0344 \u0958 \uFB1D \uF900"
    yield "hangul", "\uD55C\uAD6D\uC5B4 \u1112\u1161\u11AB\u1100\u116E\u11A8 \u1112\u1161 \u11AB"
    yield "many_marks", "a" + "\u0301\u0323\u0308" * 15 + "b"
    yield "code_c", ("#include <stdio.h>\nint main(int argc, char **argv)\n{\n    for (int i = 0; i < 10; i++)\n"
                     "        printf(\"%d\\n\", i << 2);\n\treturn a->b[0] != NULL ? 0x7f : ~1;\n}\n")
    yield "code_py", ("def f(x: int) -> str:\n    \"\"\"Doc.\"\"\"\n    return f'{x!r:>10}' if x else None  # note\n\n"
                      "@dec\nclass A(B):\n\tpass\n")
    yield "html", "<p class=\"a\">x &amp; y</p><br/>\n<!-- c -->"
    yield "url", "https://example.org/a/b?c=d&e=%20f#g user@example.com C:\\dir\\file.txt"
    yield "punct", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ... --- *** === ,,, ;;; !? ?!"
    yield "punct_nl", "end.\n\nNext!\r\n(x)\n\n\n--\n"
    yield "symbols", "\u20AC100 \u00A35 \u00A9 \u2122 \u2192 \u2200x\u2208\u211D \u221A2 \u00B1 \u2026 \u2014 \u00AB\u00BB \u00BFqu\u00E9? \u00A1ol\u00E9!"
    yield "latin", "na\u00EFve fa\u00E7ade \u00C5ngstr\u00F6m \u0141\u00F3d\u017A \u010Cesk\u00FD Stra\u00DFe \u0130stanbul Ti\u1EBFng Vi\u1EC7t"
    yield "greek_cyrillic", "\u039A\u03B1\u03BB\u03B7\u03BC\u03AD\u03C1\u03B1 \u043A\u043E\u0441\u043C\u043E\u0441, \u041F\u0440\u0438\u0432\u0435\u0442! \u0451\u0436"
    yield "cjk", "\u4ECA\u5929\u5929\u6C14\u5F88\u597D\u3002\u6211\u4EEC\u53BB\u516C\u56ED\u5427\uFF01\u300C\u6771\u4EAC\u300D\u3001\u65E5\u672C\u8A9E\u306E\u6587\u7AE0\u3067\u3059\u3002\u30AB\u30BF\u30AB\u30CA \uFF76\uFF85"
    yield "cjk_rare", "\U00020BB7\u91CE\u5BB6 \U0002A6A5 \u3400\u4DB5"
    yield "arabic", "\u0645\u0631\u062D\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645\u060C \u0643\u064E\u062A\u064E\u0628\u064E \u0661\u0662\u0663\u061F \u0644\u0627"
    yield "hebrew", "\u05E9\u05DC\u05D5\u05DD \u05E2\u05D5\u05DC\u05DD \u05E9\u05C1\u05B8\u05DC\u05D5\u05B9\u05DD"
    yield "devanagari", "\u0928\u092E\u0938\u094D\u0924\u0947 \u0926\u0941\u0928\u093F\u092F\u093E \u0915\u094D\u0937\u0924\u094D\u0930\u093F\u092F \u0967\u0968\u0969"
    yield "thai_tamil", "\u0E2A\u0E27\u0E31\u0E2A\u0E14\u0E35\u0E04\u0E23\u0E31\u0E1A \u0BB5\u0BA3\u0B95\u0BCD\u0B95\u0BAE\u0BCD \u1019\u103C\u1014\u103A\u1019\u102C"
    yield "emoji", "\U0001F600 \U0001F44D\U0001F3FD ok\U0001F680\U0001F680 \u2764\uFE0F \u263A \U0001F1E9\U0001F1EA\U0001F1EB\U0001F1F7"
    yield "emoji_zwj", "\U0001F468\u200D\U0001F469\u200D\U0001F467\u200D\U0001F466 \U0001F3F3\uFE0F\u200D\U0001F308 \U0001F469\U0001F3FE\u200D\U0001F4BB 1\uFE0F\u20E3"
    yield "bidi", "abc \u202Eevil\u202C \u2066x\u2069 \u200Ey\u200F"
    yield "nul", "a\x00b\x00\x00 c\x00"
    yield "controls", "".join(map(chr, range(1, 32))) + "\x7F\x80\x9F"
    yield "bom", "\uFEFFtext with a BOM \uFEFF inside"
    yield "replacement", "already \uFFFD here \uFFFD\uFFFD"
    yield "noncharacters", "\uFFFE \uFFFF \U0010FFFF \uE000 \U000F0000"
    yield "planes", "a\U00050000b \U00050000\U00090000\U000F0000 \x03\x04\x05 x\x06\x07 \x13\x14"
    yield "latin1_all", "".join(map(chr, range(0x20, 0x180)))
    for cp in SPACES:
        c = chr(cp)
        yield f"space_{cp:04X}", f"a{c}b {c}c{c} d{c}{c}e{c}{c} f {c} 1{c}2{c}{c}!{c}?{c}"
    for cp in NOT_SPACES:
        c = chr(cp)
        yield f"notspace_{cp:04X}", f"a{c}b {c}c{c} d{c}{c}e 1{c}2 {c}{c}!{c}"
    yield "space_mix", "a \u00A0 b\u3000\u3000 c\u2003\n\u2003d \r\n\t e\u2028f\u2029\u2029g \u0085h"
    yield "long_word", "a" * 700
    yield "long_mixed", "abcdefghij" * 80 + " tail"
    yield "long_the", "the" * 200 + " " + "theatre" * 60
    yield "long_blanks", "x" + " " * 300 + "y"
    yield "long_newlines", "x" + "\n" * 150 + "y" + "\r\n" * 40 + "z"
    yield "long_digits", "31415926535897932384626433832795" * 8
    yield "long_cjk", "\u6771\u4EAC\u90FD\u5343\u4EE3\u7530\u533A" * 30
    yield "long_punct", "=" * 200 + "-" * 100 + "\n" + "#" * 64
    yield "specials", "<|endoftext|><|im_start|>user\nHi<|im_end|>\n<|im_start|> assistant <|im_end|> <|endoftext|>"
    yield "specials_llama3", "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi there<|eot_id|> x <|eot_id|>y"
    yield "specials_sp", "<s>one</s> two <s> three</s></s> <unk> four<s>"
    yield "specials_gemma", "<bos><start_of_turn>user\nHi <end_of_turn>\n<eos>x<pad> y"
    yield "specials_broken", "<|endoftext |> <|im_start| > <|im_start|<|im_end|> <s > </ s> <|eot_id>"
    yield "bytes_text", "<0x41> <0xE2><0x82><0xAC> <0x0A> <0xZZ>"
    yield "metaspace_text", "\u2581already\u2581 there \u2581\u2581x \u0120 \u010A"
    yield "markdown", "# Title\n\n* item **bold** `code`\n  1. sub\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> quote\n"
    yield "json", "{\"a\": [1, 2.5, -3e+10, null, true], \"b\": {\"\u00FC\": \"\\u00e9\\n\"}}"
    yield "math", "$$\\int_0^\\infty e^{-x^2}\\,dx = \\frac{\\sqrt{\\pi}}{2}$$"
    yield "camel", "camelCaseWords and SCREAMING_SNAKE_CASE, kebab-case iPhone15Pro"


def raw():
    yield "bad_lone", b"a\x80b\xBFc"
    yield "bad_ff", b"\xFF\xFE \xC0\x80 \xC1\xBF"
    yield "bad_trunc2", b"x\xC3 y\xC3"
    yield "bad_trunc3", b"x\xE2\x82 y\xE2 z\xE2\x82"
    yield "bad_trunc4", b"x\xF0\x9F\x98 y\xF0\x9F z\xF0 \xF0\x9F\x98"
    yield "bad_overlong", b"\xE0\x80\x80 \xE0\x9F\xBF \xF0\x80\x80\x80 \xF0\x8F\xBF\xBF"
    yield "bad_surrogate", b"\xED\xA0\x80\xED\xB0\x80 \xED\x9F\xBF"
    yield "bad_range", b"\xF4\x8F\xBF\xBF \xF4\x90\x80\x80 \xF5\x80\x80\x80 \xF8\x88\x80\x80\x80"
    yield "bad_mixed", "caf\u00E9 ".encode() + b"\xE9t\xE9 na\xEFve" + "\u20AC".encode()
    yield "utf16", "\uFEFFhi there".encode("utf-16-le")


def random_texts(r):
    """Strings that no one thinks of: characters drawn from classes that pre-tokenizers treat apart."""
    classes = [list("abcXYZ the"), list("0123456789\u0663\u00BD\u2163"), list(" \t\n\r\u00A0\u3000\u2009\u0085"),
               list("'\".,!-_()#"), list("'stmdSTMDrevl\u017F"), list("\u00E9\u00DF\u0416\u03B1\u4E2D\u3042\uAC00\u0939"),
               list("\u0301\u0308\u093F\u0E31\u200D\uFE0F"), list("\U0001F600\U0001F44D\U0001F3FD\U00020BB7\U0010FFFF"),
               list("\x00\x01\x1C\u200B\uFEFF\u2581\u0120")]
    for i in range(60):
        out = []
        while len(out) < 30:
            out += r.choices(r.choice(classes), k=r.randint(1, 4))
        yield f"random_{i:02d}", "".join(out)


def main():
    r = random.Random(2026)
    cases = [(n, t.encode("utf-8")) for n, t in texts()] + list(raw())
    cases += [(n, t.encode("utf-8")) for n, t in random_texts(r)]
    for i in range(20):
        cases.append((f"bytes_{i:02d}", bytes(r.choices(range(256), k=40))))
    assert len({n for n, _ in cases}) == len(cases)
    with open(os.path.join(HERE, "tok", "corpus.json"), "w") as f:
        f.write('{"cases": [\n')
        f.write(",\n".join(json.dumps({"name": n, "hex": b.hex()}) for n, b in cases))
        f.write("\n]}\n")
    print(len(cases), "cases,", sum(len(b) for _, b in cases), "bytes")


main()
